"""Differential equations by several methods, and the adjoint's gradient."""

import torch
from torchdiffeq import odeint, odeint_adjoint

torch.manual_seed(0)


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
        )

    def forward(self, t, y):
        return self.net(y)


field, start, times = Field(), torch.tensor([[1.0, 0.0]]), torch.linspace(0, 1, 5)
for method in ("dopri5", "rk4", "euler"):
    print(odeint(field, start, times, method=method).detach())
odeint_adjoint(field, start, times).sum().backward()
print(field.net[2].bias.grad)
