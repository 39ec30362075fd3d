"""Stochastic variational inference and Hamiltonian Monte Carlo with Pyro."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.optim import Adam

pyro.set_rng_seed(0)
data = torch.tensor([1.0, 1, 0, 1, 1, 0, 1])


def model(data):
    p = pyro.sample("p", dist.Beta(2.0, 2.0))
    with pyro.plate("data", len(data)):
        pyro.sample("seen", dist.Bernoulli(p), obs=data)


def guide(data):
    positive = dist.constraints.positive
    a = pyro.param("a", torch.tensor(2.0), constraint=positive)
    b = pyro.param("b", torch.tensor(2.0), constraint=positive)
    pyro.sample("p", dist.Beta(a, b))


svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO())
for _ in range(50):
    loss = svi.step(data)
print(pyro.param("a").item(), pyro.param("b").item(), loss)
pyro.set_rng_seed(1)
mcmc = MCMC(NUTS(model), num_samples=20, warmup_steps=10, disable_progbar=True)
mcmc.run(data)
print(mcmc.get_samples()["p"].mean())
