"""First and second derivatives of reductions, scans, gathers and scatters, against PyTorch."""

import numpy as np
import pytest

import taper

torch = pytest.importorskip("torch")

EXPRESSIONS = """
(x*x).sum(1) | x.mean()**2 | x.prod() | x.prod(1) | x.logsumexp(1) | x.norm() | x.norm(3)
x.norm(1.5,dim=1) | x.norm(1) | m.dist(x,y) | m.dist(x,y,3) | x.var() | x.std(1)
m.std_mean(x,1)[0] | x.var(0,correction=0) | x.amax(1)**2 | x.max()**2 | x.max(1)[0]**2
m.aminmax(x,dim=1)[0]**2 | x.cumsum(1)**2 | x.cumprod(1) | x.cumprod(0) | x.cummax(1)[0]**2
x.logcumsumexp(1) | x.sort(1)[0]**2 | x.topk(2)[0]**3 | x.median()**2 | x.median(1)[0]**2
x.kthvalue(2)[0]**2 | x.quantile(.3)**2 | x.quantile(m.tensor([.3,.6],dtype=m.float64),1)**2
x.gather(1,i)**2 | x.scatter(1,i,y)**2 | x.scatter_add(1,i,y)**2
x.scatter_reduce(1,i,y,'prod') | x.scatter_reduce(1,i,y,'mean')**2
x.scatter_reduce(1,i,y,'amax')**2 | x.index_select(0,k)**2 | x.index_add(0,k,y,alpha=2)**2
x.index_copy(0,m.tensor([2,0,1]),y)**2 | x.index_fill(0,k,2.)**2 | x.take(i)**2
x.put(m.arange(12).reshape(3,4),y)**2 | x.masked_fill(mask,0.)**2 | x.masked_select(mask)**2
x.masked_scatter(mask,y)**2 | x.nansum(1)**2 | x.renorm(2,0,1.) | m.cov(x) | m.corrcoef(x)
m.trapezoid(y,x) | m.gradient(x)[0]**2 | m.masked.softmax(x,1,mask=mask)
m.masked.std(x,1,mask=mask) | m.cumulative_trapezoid(x)**2 | x.diff()**2 | x.nanmean()**2
x.index_reduce(0,k,y,'prod')
"""
CASES = [e.strip() for e in EXPRESSIONS.replace("\n", "|").split("|") if e.strip()]


def derivatives(m, expression, arrays):
    """The value, its gradients, and the gradients of a weighted sum of those."""
    x, y, i, mask = (m.from_numpy(a.copy()) for a in arrays)
    leaves = [x.requires_grad_(), y.requires_grad_()]
    value = eval(expression, {"m": m, "x": x, "y": y, "i": i, "mask": mask, "k": i[0, :3]})

    def weighted(t, phase):
        weights = np.cos(phase + np.arange(t.numel())).reshape(tuple(t.shape))
        return (t * m.from_numpy(weights)).sum()

    first = m.autograd.grad(weighted(value, 0), leaves, create_graph=True, allow_unused=True)
    parts = [weighted(g, 1) for g in first if g is not None and g.requires_grad]
    second = []
    if parts:
        second = m.autograd.grad(sum(parts), leaves, allow_unused=True)
    return [
        np.zeros((3, 4)) if t is None else t.detach().numpy(force=True)
        for t in (value, *first, *second)
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", CASES)
@pytest.mark.parametrize("zeros", [False, True])
def test_two_derivatives(expression, zeros):
    if zeros and "prod" not in expression:
        return
    rng = np.random.default_rng(1)
    x, y = rng.random((3, 4)) + 0.5, rng.random((3, 4)) + 0.5
    mask = x > 1
    if zeros:
        x[[0, 1, 1], [1, 0, 2]] = 0
    arrays = x, y, rng.integers(0, 3, (3, 4)), mask
    found, wanted = (derivatives(m, expression, arrays) for m in (taper, torch))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
