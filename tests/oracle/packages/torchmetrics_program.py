"""Metrics of classification and regression, in parts, with torchmetrics."""

import torch
import torchmetrics as metrics

torch.manual_seed(0)
chances, classes = torch.rand(50, 5).softmax(-1), torch.randint(0, 5, (50,))
task = {"task": "multiclass", "num_classes": 5}
for metric in (
    metrics.Accuracy(**task), metrics.F1Score(**task, average="macro"), metrics.AUROC(**task),
    metrics.ConfusionMatrix(**task), metrics.CalibrationError(**task),
    metrics.AveragePrecision(**task),
):
    metric.update(chances[:25], classes[:25])
    metric.update(chances[25:], classes[25:])
    print(type(metric).__name__, metric.compute())
x, y = torch.rand(20), torch.rand(20)
for metric in (
    metrics.MeanSquaredError(), metrics.R2Score(), metrics.PearsonCorrCoef(),
    metrics.SpearmanCorrCoef(),
):
    print(type(metric).__name__, metric(x, y))
print(metrics.MetricCollection([metrics.MeanSquaredError(), metrics.MeanAbsoluteError()])(x, y))
