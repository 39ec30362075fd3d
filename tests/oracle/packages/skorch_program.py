"""A network as a scikit-learn estimator with skorch: fit, grid search, pickle."""

import pickle

import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier

torch.manual_seed(0)
x, y = make_classification(200, 10, random_state=0)
x = x.astype("float32")


class Net(torch.nn.Module):
    def __init__(self, hidden=10):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(10, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 2),
            torch.nn.Softmax(-1),
        )

    def forward(self, x):
        return self.layers(x)


net = NeuralNetClassifier(Net, max_epochs=5, lr=0.1, verbose=0, iterator_train__shuffle=True)
net.fit(x, y)
print(net.score(x, y), net.history[-1]["train_loss"])
search = GridSearchCV(
    net, {"lr": [0.01, 0.1], "module__hidden": [5, 10]}, cv=2, scoring="accuracy"
)
search.fit(x, y)
print(search.best_params_, net.predict_proba(x)[:2])
print(pickle.loads(pickle.dumps(net)).score(x, y))
