"""Attributions of a network's outputs to its inputs with Captum."""

import torch
from captum.attr import DeepLift, IntegratedGradients, LayerConductance, Occlusion, Saliency

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
x = torch.randn(2, 4)
print(IntegratedGradients(model).attribute(x, target=1))
print(Saliency(model).attribute(x, target=1))
print(DeepLift(model).attribute(x, torch.zeros_like(x), target=1).detach())
print(LayerConductance(model, model[0]).attribute(x, target=0).detach())
print(Occlusion(model).attribute(x, sliding_window_shapes=(1,), target=0))
