"""One step of Bayesian optimization with BoTorch."""

import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood

torch.manual_seed(0)
x = torch.rand(8, 2, dtype=torch.double)
y = 1 - (x - 0.5).norm(dim=-1, keepdim=True)
process = SingleTaskGP(x, y)
fit_gpytorch_mll(ExactMarginalLogLikelihood(process.likelihood, process))
acquisition = LogExpectedImprovement(process, best_f=y.max())
bounds = torch.stack([torch.zeros(2), torch.ones(2)]).double()
print(*optimize_acqf(acquisition, bounds=bounds, q=1, num_restarts=3, raw_samples=16))
