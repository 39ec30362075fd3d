"""Traced graphs, their code and tables are PyTorch's, to the letter."""

import contextlib
import io
from typing import Any

import pytest

import taper

torch = pytest.importorskip("torch")


def _programs(torch: Any) -> dict[str, Any]:
    functional, nn = torch.nn.functional, torch.nn

    def defaults(x, k=2, *, scale=1.5):
        return x * k * scale

    def starred(x, *args, **kwargs):
        return torch.add(x, args[0], alpha=kwargs["a"])

    def annotated(x: torch.Tensor, n: int = 3) -> torch.Tensor:
        return x.mul(n)

    def halves(x):
        first, second = torch.chunk(x, 2, dim=-1)
        return torch.ones(2) + first, torch.mul(first, other=second).sum(-1, keepdim=True)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
            self.weight = nn.Parameter(torch.ones(3))
            self.register_buffer("scale", torch.zeros(3))

        def forward(self, x, mask=None):
            y = self.layers(self.linear(x + self.weight.exp() / self.weight.shape[0]) * self.scale)
            return {"a": y, "b": [y, (x,)], "c": functional.softmax(y, dim=-1)}

    f = functional
    return {
        "softmax": lambda x: (f.softmax(x, dim=1), torch.softmax(x, -1), x.softmax(dim=1)),
        "relu": lambda x: (f.relu(x), f.relu(x, inplace=True), torch.relu(x), x.relu()),
        "dropout": lambda x: f.dropout(x, 0.5, training=False),
        "sums": lambda x: (torch.sum(x, dim=1, keepdim=True), x.sum(1), x.sum(dim=(0, 1))),
        "by_name": lambda x, y: (torch.add(x, y, alpha=2), torch.add(input=x, other=y)),
        "clamp": lambda x: (torch.clamp(x, min=0), x.clamp(0., max=2.), torch.clamp(x, 0, None)),
        "max": lambda x, y: (torch.max(x), torch.max(x, 1), torch.max(x, dim=1), torch.max(x, y)),
        "join": lambda x, y: (torch.cat([x, y], dim=1), torch.stack((x, y)), torch.hstack([x, y])),
        "einsum": lambda x, y: (torch.einsum("ij,kj", x, y), torch.einsum("ij,jk", [x, y])),
        "grid": lambda x, y: (torch.meshgrid(x, y, indexing="ij"), torch.broadcast_tensors(x, y)),
        "getattr": lambda x: (x.shape[0] + 1, x.T, x.size(0), x.dtype),
        "operators": lambda x, y: (
            x + 1, 2 - x, x @ y, 1 / x, x // 2, x ** 2, -x, ~x, x < y, x & y, 1 | x, abs(x), x[0],
            x[:, 1:], x[..., None],
        ),
        "views": lambda x: (
            x.view(-1, 2), x.reshape((2, -1)), torch.reshape(x, (-1,)), x.permute(1, 0),
            torch.permute(x, (1, 0)), x.transpose(0, dim1=1), torch.split(x, 2), x.split(2, dim=1),
            torch.flatten(x, start_dim=1), x.expand(2, -1),
        ),
        "losses": lambda x, y: (
            f.mse_loss(x, y), f.cross_entropy(x, y, reduction="sum"), f.huber_loss(x, y, delta=2.),
        ),
        "layers": lambda x, w, b: (
            f.linear(x, w, bias=b), f.conv2d(x, w, b, padding=1), f.layer_norm(x, (3,), eps=1e-6),
            f.batch_norm(x, w, b, training=True), f.max_pool2d(x, 2), f.embedding(x, w),
            f.scaled_dot_product_attention(x, w, b, is_causal=True), f.pad(x, (1, 1)),
        ),
        "activations": lambda x: (
            f.gelu(x, approximate="tanh"), f.leaky_relu(x, 0.1), f.softplus(x, beta=2), f.tanh(x),
            f.log_softmax(x, -1), f.logsigmoid(x), f.hardtanh(x), f.prelu(x, x),
        ),
        "rooms": lambda x: (
            torch.linalg.norm(x), torch.linalg.eigh(x, UPLO="U"), torch.fft.fft(x, dim=0),
            torch.special.expit(x), torch.norm(x, dim=1), torch.absolute(x),
        ),
        "methods": lambda x, y: (
            x.add_(y), x.masked_fill(mask=y, value=1.), x.to(dtype=torch.float32), x.topk(2),
            x.sort(descending=True), x.item(), x.new_zeros(2),
        ),
        "names": lambda input, max, type: (input.add(max), type, input.id),
        "defaults": defaults, "starred": starred, "annotated": annotated, "halves": halves,
        "module": Net(),
    }


def _texts(library: Any, name: str) -> tuple[str, str, str]:
    traced = library.fx.symbolic_trace(_programs(library)[name])
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        try:
            traced.graph.print_tabular()
        except ImportError:  # PyTorch needs tabulate for it
            return str(traced.graph), traced.code, ""
    # Functions are shown with their addresses, and columns are as wide as those.
    rows = [line.split() for line in table.getvalue().splitlines() if "<" not in line]
    return str(traced.graph), traced.code, str([r for r in rows if not r[0].startswith("-")])


@pytest.mark.parametrize("name", _programs(taper))
def test_graphs(name: str) -> None:
    expected, found = _texts(torch, name), _texts(taper, name)
    assert found[:2] == expected[:2]
    if expected[2]:
        assert found[2] == expected[2]


CALLS = """torch.add(s, 1) | torch.add(input=s, other=1) | s + 1 | 1 - s | t + s | s @ t | s == 1 |
    s.add(other=1) | t.add_(s) | s.sum(1) | s.view(-1) | s.reshape(2, 2) | s.max(0) | s.split(1) |
    s.norm() | torch.max(s, dim=0) | f.softmax(s, 0) | torch.softmax(s, dim=0) | f.linear(t, s) |
    torch.cat([t, s], dim=0) | torch.mm(t, s, out=t) | s[0] | s.to("cpu") | torch.abs(s) |
    torch.absolute(s) | s.permute(1, 0) | s.index_add(0, t, s) | torch.hstack([t, s]) |
    f.relu(s, inplace=True) | torch.einsum("ij,jk", t, s)""".replace("\n", " ").split("|")


@pytest.mark.parametrize("call", [c.strip() for c in CALLS])
def test_handlers_are_told_calls_as_they_were_written(call: str) -> None:
    told = []
    for library in (torch, taper):
        seen: list[Any] = []

        def handler(
            cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None,
            library: Any = library, seen: Any = seen,
        ) -> Any:
            def name(value: Any) -> Any:
                if isinstance(value, (list, tuple)):
                    return [name(v) for v in value]
                return type(value).__name__ if isinstance(value, library.Tensor) else value

            named = {key: name(value) for key, value in (kwargs or {}).items()}
            is_method = getattr(library.Tensor, func.__name__, None) is func
            seen.append((func.__name__, is_method, name(args), named))
            return library.ones(2)

        kind = type("Sub", (library.Tensor,), {"__torch_function__": classmethod(handler)})
        t = library.ones(2, 2)
        names = {"torch": library, "f": library.nn.functional, "t": t, "s": t.as_subclass(kind)}
        eval(call, names)
        told.append(seen)
    assert told[1] == told[0]
