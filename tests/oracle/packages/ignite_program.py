"""A trainer and an evaluator of Ignite with their events and metrics."""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = torch.nn.Linear(4, 3)
loss = torch.nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(0, 3, (64,))), batch_size=16)
trainer = create_supervised_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss)
evaluator = create_supervised_evaluator(
    model, metrics={"accuracy": Accuracy(), "loss": Loss(loss)}
)


@trainer.on(Events.EPOCH_COMPLETED)
def report(engine):
    evaluator.run(loader)
    print(engine.state.epoch, sorted(evaluator.state.metrics.items()))


trainer.run(loader, max_epochs=3)
