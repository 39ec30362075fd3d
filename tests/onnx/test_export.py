"""ONNX files, run by onnxruntime: the model's own results, for the sizes that were left open."""

import io
from typing import Any

import numpy as np
import pytest

import taper as torch
from taper import nn

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
F = nn.functional
BATCH = {"in0": {0: "batch"}}


def leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]


def session(program: Any) -> Any:
    return runtime.InferenceSession(program.model_proto.SerializeToString(),
                                    providers=["CPUExecutionProvider"])


def assert_runs(model: Any, *calls: tuple[torch.Tensor, ...], **options: Any) -> Any:
    """Exports with the first call's arguments and compares the results of all calls."""
    if isinstance(model, nn.Module):
        model.eval()
    names = [f"in{i}" for i in range(len(calls[0]))]
    program = torch.onnx.export(model, calls[0], input_names=names, **options)
    run = session(program)
    for args in calls:
        with torch.no_grad():
            expected = leaves(model(*args))
        found = run.run(None, {n: a.numpy() for n, a in zip(names, args, strict=True)})
        for a, b in zip(expected, found, strict=True):
            assert a.numpy().dtype == b.dtype
            np.testing.assert_allclose(b, a.numpy(), rtol=2e-4, atol=1e-5)
    return program


MODELS: list[tuple[str, Any, tuple[int, ...]]] = [
    ("perceptron", lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8),
                                         nn.Linear(8, 3), nn.Softmax(-1)), (4,)),
    ("convolutions", lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(2, padding=1), nn.Conv2d(4, 8, 2, groups=2, stride=2),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 10)), (1, 14, 14)),
    ("lstm", lambda: nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True), (6, 4)),
    ("gru", lambda: nn.GRU(4, 8, batch_first=True), (6, 4)),
    ("rnn", lambda: nn.RNN(4, 8, batch_first=True, nonlinearity="relu"), (6, 4)),
    ("transformer", lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    ("upsampling", lambda: nn.Sequential(
        nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.GroupNorm(3, 3), nn.SiLU()), (2, 4, 5)),
]


@pytest.mark.parametrize(("name", "make", "shape"), MODELS, ids=[m[0] for m in MODELS])
def test_models_of_any_batch_size(name: str, make: Any, shape: tuple[int, ...]) -> None:
    assert_runs(make(), *[(torch.randn(n, *shape),) for n in (2, 5, 1)], dynamic_axes=BATCH)


class Block(nn.Module):
    """A decoder of one block: embeddings, causal attention, a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.norm, self.mix, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.inside = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        b, t = index.shape
        x = self.tokens(index) + self.places(torch.arange(t))
        q, k, v = (part.view(b, t, 2, 4).transpose(1, 2)
                   for part in self.mix(self.norm(x)).split(8, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, 8))
        return (x + self.inside(x)) @ self.tokens.weight.T


@pytest.mark.parametrize("opset", [11, 13, 17, None, 20])
def test_a_decoder(opset: int | None) -> None:
    calls = [(torch.randint(0, 11, (n, 6)),) for n in (3, 1, 7)]
    program = assert_runs(Block(), *calls, dynamic_axes=BATCH, opset_version=opset)
    assert program.model_proto.opset_import[0].version == (opset or 18)


def test_a_decoder_of_any_length() -> None:
    calls = [(torch.randint(0, 11, shape),) for shape in ((3, 6), (1, 1), (2, 4))]
    program = assert_runs(Block(), *calls, dynamic_axes={"in0": {0: "batch", 1: "length"}})
    dims = program.model_proto.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", "length", 11]
    assert_runs(nn.GRU(4, 8, batch_first=True), (torch.rand(2, 6, 4),), (torch.rand(5, 3, 4),),
                dynamic_axes={"in0": {0: "batch", 1: "length"}})
    assert_runs(lambda x, y: x + y, (torch.rand(2, 3), torch.rand(2, 3)),
                (torch.rand(5, 3), torch.rand(5, 3)), dynamic_axes={"in0": [0], "in1": [0]})


FUNCTIONS: dict[str, Any] = {
    "expm1": lambda x: torch.expm1(x) + torch.expm1(x * 1e-3) * 1e3,
    "log1p": lambda x: torch.log1p(x.abs()) + torch.log1p(x * 1e-3) * 1e3,
    "softplus": F.softplus, "logsumexp": lambda x: torch.logsumexp(x, 1),
    "signs": lambda x: x.sign() * x.abs().sqrt(),
    "places": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 0.5])),
    "numbers for NaN": lambda x: torch.nan_to_num(x.log(), 7.0),
    "bags": lambda x: F.embedding_bag(torch.tensor([[0, 2, 2], [1, 1, 3]]), x),
    "angles": lambda x: torch.atan2(x, x.flip(0)), "remainder": lambda x: (x % 0.7, x // 0.7),
    "whole numbers": lambda x: ((x * 9).long() % 4, (x * 9).long() // 4, (x * 9).int() * 2),
    "comparisons": lambda x: (x > 0, x != x[0], (x > 0) & (x < 1), ~(x > 0), x.isnan()),
    "counts": lambda x: ((x > 0).sum(), (x > 0).any(1), (x > 0).all()),
    "extremes": lambda x: (x.max(1), x.min(0), x.argmax(), x.amax((0, 1))),
    "order": lambda x: (x.sort(1), x.topk(2), x.cumsum(1), x.median(1)[0]),
    "spread": lambda x: (x.var(1), x.std(0), x.norm(dim=1)),
    "slices": lambda x: (x[1:, ::2], x[::-1] if False else x.flip(1), x[-1], x[..., 2]),
    "picks": lambda x: (x[torch.tensor([0, -1])], x[torch.tensor([0, -1]), torch.tensor([1, 2])],
                        x.gather(1, torch.tensor([[0], [1], [2], [3]])), x.diagonal()),
    "writes": lambda x: (F.pad(x, (1, 2), value=3.0), x.masked_fill(x > 0.5, 0.0), x.tril(),
                         torch.zeros(4, 5).scatter(1, torch.tensor([[0], [1], [2], [3]]), x),
                         x.scatter(1, torch.tensor([[0], [1], [2], [3]]), 2.0),
                         x.scatter(1, torch.tensor([[0], [1], [2], [3]]), x),
                         x.index_add(0, torch.tensor([1, 1]), x[:2])),
    "joins": lambda x: (torch.cat([x, x * 2], 1), torch.stack([x, x]), x.repeat(2, 2),
                        x.repeat_interleave(2, 0), x.unfold(1, 2, 1)),
    "products": lambda x: (x @ x[0], torch.einsum("ij,kj->ik", x, x), torch.outer(x[0], x[1])),
    "losses": lambda x: (F.cross_entropy(x, torch.tensor([0, 1, 2, 3])), F.mse_loss(x, x * 2)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    assert_runs(FUNCTIONS[name], (torch.randn(4, 5),))


def test_numbers_that_count_an_open_size() -> None:
    assert_runs(lambda x: x.mean(0) + x.var(0), *[(torch.randn(n, 3),) for n in (4, 7)],
                dynamic_axes=BATCH)
    assert_runs(lambda x: F.pad(x, (1, 2)) + torch.arange(len(x))[:, None],
                *[(torch.randn(n, 3),) for n in (4, 7)], dynamic_axes=BATCH)


def test_files_hold_weights_names_and_open_sizes(tmp_path: Any) -> None:
    model = nn.Linear(2, 3)
    path = tmp_path / "linear.onnx"
    torch.onnx.export(
        model, torch.ones(4, 2), path, input_names=["x"], output_names=["y"],
        dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
    )
    graph = onnx.load(path).graph
    assert [i.name for i in graph.input] == ["x"] and [o.name for o in graph.output] == ["y"]
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert {i.name for i in graph.initializer} >= {"weight", "bias"}
    file = io.BytesIO()
    torch.onnx.export(model, (torch.ones(4, 2),), file, export_params=False)
    bare = onnx.load_from_string(file.getvalue()).graph
    assert [i.name for i in bare.input] == ["x0", "weight", "bias"]


def test_what_is_not_translated_is_named() -> None:
    with pytest.raises(NotImplementedError, match="operation 'bernoulli' is not supported"):
        torch.onnx.export(nn.Dropout(), (torch.ones(3),))
    with pytest.raises(NotImplementedError, match="operation 'distances' is not supported"):
        torch.onnx.export(torch.cdist, (torch.ones(3, 2), torch.ones(3, 2)))
    with pytest.raises(NotImplementedError, match="opset_version=9 is not supported"):
        torch.onnx.export(nn.ReLU(), (torch.ones(3),), opset_version=9)


def test_code_can_ask_whether_it_is_exported() -> None:
    seen: list[bool] = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.extend([torch.onnx.is_in_onnx_export(), torch.compiler.is_exporting()])
        return x + 1

    function(torch.ones(2))
    torch.onnx.export(function, (torch.ones(2),))
    torch.export.export(function, (torch.ones(2),))
    assert seen == [False, False, True, True, False, True]
    assert not torch.onnx.is_in_onnx_export() and not torch.compiler.is_exporting()
