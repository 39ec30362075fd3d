"""Losses and miners of PyTorch Metric Learning."""

import torch
from pytorch_metric_learning import losses, miners

torch.manual_seed(0)
x, y = torch.randn(16, 8, requires_grad=True), torch.randint(0, 4, (16,))
pairs = miners.MultiSimilarityMiner()(x, y)
for kind in (
    losses.TripletMarginLoss, losses.ContrastiveLoss, losses.MultiSimilarityLoss,
    losses.NTXentLoss, losses.CircleLoss, losses.SupConLoss, losses.AngularLoss,
):
    loss = kind()(x, y, pairs)
    print(kind.__name__, loss, torch.autograd.grad(loss, x)[0].abs().sum())
for kind in (losses.ArcFaceLoss, losses.CosFaceLoss, losses.ProxyAnchorLoss):
    print(kind.__name__, kind(4, 8)(x, y))
