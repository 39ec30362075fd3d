"""Exported programs: the same results without the module, from a file, for any batch size."""

import io
import json
import zipfile
from typing import Any

import pytest

import taper as torch
from taper import nn
from taper.export import Dim, ExportedProgram, export, load, save


def reloaded(program: ExportedProgram) -> ExportedProgram:
    file = io.BytesIO()
    save(program, file)
    return load(file)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * 9, 5), nn.Softmax(-1),
    ).eval()


MODELS: list[tuple[str, Any, Any]] = [
    ("perceptron", lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8),
                                         nn.Linear(8, 3)), lambda n: torch.rand(n, 4)),
    ("convolutions", network, lambda n: torch.rand(n, 1, 6, 6)),
    ("lstm", lambda: nn.LSTM(3, 5, 2, batch_first=True), lambda n: torch.rand(n, 7, 3)),
    ("gru", lambda: nn.GRU(3, 5, batch_first=True), lambda n: torch.rand(n, 7, 3)),
    ("transformer", lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(),
     lambda n: torch.rand(n, 5, 8)),
    ("statistics of the batch", lambda: lambda x: (x.mean(0), x.std(0), x.sum() / len(x)),
     lambda n: torch.rand(n + 1, 3)),
    ("embedding", lambda: nn.Embedding(10, 4), lambda n: torch.randint(0, 10, (n, 3))),
]


def leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]


@pytest.mark.parametrize(("name", "make", "inputs"), MODELS, ids=[m[0] for m in MODELS])
def test_models_compute_the_same_from_a_file_for_any_batch(name: str, make: Any,
                                                           inputs: Any) -> None:
    model = make()
    program = export(model, (inputs(4),), dynamic_shapes=({0: Dim("batch")},))
    module, again = program.module(), reloaded(program).module()
    for n in (4, 2, 9, 1):
        x = inputs(n)
        with torch.no_grad():
            expected = leaves(model(x))
        for run in (module, again, module):
            for a, b in zip(expected, leaves(run(x)), strict=True):
                assert a.shape == b.shape
                torch.testing.assert_close(a, b)


def test_several_open_sizes() -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> Any:
        b, t, _ = x.shape
        scores = (x @ y.transpose(1, 2)).softmax(-1)
        return scores.reshape(b * t, -1), x.reshape(b, -1), torch.arange(t) + b

    program = export(function, (torch.rand(2, 5, 4), torch.rand(2, 6, 4)), dynamic_shapes={
        "x": {0: Dim("b"), 1: Dim("t")}, "y": {0: Dim("b"), 1: Dim("u", min=2, max=9)}})
    assert "b*t" in str(program.graph)
    module = reloaded(program).module()
    for b, t, u in ((2, 5, 6), (3, 1, 9), (1, 7, 2)):
        x, y = torch.rand(b, t, 4), torch.rand(b, u, 4)
        for found, expected in zip(module(x, y), function(x, y), strict=True):
            torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"x1 of the exported program is float32\[b, u, 4\]"):
        module(torch.rand(2, 5, 4), torch.rand(3, 6, 4))


def test_sequences_of_any_length() -> None:
    model = nn.LSTM(3, 4)
    module = reloaded(export(model, (torch.rand(5, 2, 3),), dynamic_shapes=(
        {0: Dim("length"), 1: Dim("batch")},))).module()
    for shape in ((5, 2, 3), (1, 4, 3), (9, 1, 3)):
        x = torch.rand(shape)
        with torch.no_grad():
            for found, expected in zip(leaves(module(x)), leaves(model(x)), strict=True):
                torch.testing.assert_close(found, expected)


def test_open_sizes_without_names_and_narrow_ones() -> None:
    program = export(lambda x, y: x + y, (torch.ones(2, 3), torch.ones(2, 1)),
                     dynamic_shapes=({0: Dim.AUTO}, {0: Dim.DYNAMIC}))
    assert program.module()(torch.ones(5, 3), torch.ones(5, 1)).shape == (5, 3)
    program = export(lambda x: x * 2, (torch.ones(2),), dynamic_shapes=({0: Dim("n", max=3)},))
    assert program.module()(torch.ones(1)).tolist() == [2]
    with pytest.raises(ValueError, match="too few sizes"):
        export(lambda x: x * 2, (torch.ones(2),), dynamic_shapes=({0: Dim("n", min=2, max=3)},))


def test_structure_of_arguments_and_results_is_kept() -> None:
    def function(pair: Any, scale: float, *, shift: Any) -> Any:
        return {"sum": pair[0] + pair[1] * scale, "rest": [shift["by"] + 1, None, 3]}

    a, b, c = torch.ones(2), torch.ones(2), torch.zeros(2)
    program = reloaded(export(function, ((a, b), 2.0), {"shift": {"by": c}}))
    found = program.module()((a, b), 2.0, shift={"by": c})
    assert list(found) == ["sum", "rest"]
    assert found["sum"].tolist() == [3, 3] and found["rest"][0].tolist() == [1, 1]
    assert found["rest"][1:] == [None, 3]
    with pytest.raises(ValueError, match=r"was made with the argument 2\.0, not 3\.0"):
        program.module()((a, b), 3.0, shift={"by": c})
    with pytest.raises(ValueError, match="takes arguments of the structure"):
        program.module()((a, b), 2.0)


def test_weights_are_copies_under_their_names() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    program = export(model, (torch.ones(3, 2),))
    assert [n for n, _ in program.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert program.graph_signature.buffers == ("1.running_mean", "1.running_var",
                                               "1.num_batches_tracked")
    module = reloaded(program).module()
    assert set(module.state_dict()) == set(model.state_dict())
    before = module(torch.ones(3, 2))
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(program.module()(torch.ones(3, 2)), before)
    module.load_state_dict(model.state_dict())
    assert torch.equal(module(torch.ones(3, 2)), model(torch.ones(3, 2)).detach())


def test_buffers_that_change_change_in_the_exported_module() -> None:
    model = nn.BatchNorm1d(2)
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    program = export(model, (x,))
    assert program.graph_signature.buffers_to_mutate.keys() == {
        "running_mean", "running_var", "num_batches_tracked"}
    module = program.module()
    for _ in range(3):
        module(x)
        model(x)
    assert torch.equal(module.running_mean, model.running_mean)
    assert module.num_batches_tracked.item() == 3
    assert program.state_dict["running_mean"].tolist() == module.running_mean.tolist()


def test_draws_are_made_when_the_program_runs() -> None:
    program = reloaded(export(nn.Dropout(0.5), (torch.ones(50),)))
    module = program.module()
    torch.manual_seed(1)
    a, b = module(torch.ones(50)), module(torch.ones(50))
    torch.manual_seed(1)
    assert torch.equal(module(torch.ones(50)), a) and not torch.equal(a, b)


def test_what_was_fixed_is_checked() -> None:
    program = export(nn.Linear(3, 1), (torch.ones(2, 3),),
                     dynamic_shapes={"input": {0: Dim("n", max=9)}})
    module = program.module()
    with pytest.raises(ValueError, match=r"x0 of the exported program is float32\[n, 3\]"):
        module(torch.ones(2, 4))
    with pytest.raises(ValueError, match="can't be 10"):
        module(torch.ones(10, 3))
    with pytest.raises(ValueError, match="not float64"):
        module(torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="Unable to call ExportedProgram directly"):
        program(torch.ones(2, 3))
    with pytest.raises(TypeError, match="Expecting `args` to be a tuple"):
        export(nn.Linear(3, 1), torch.ones(2, 3))  # type: ignore[arg-type]


def test_what_depends_on_the_size_otherwise_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="the size 'n' can't be dynamic"):
        export(lambda x: x.repeat(len(x), 1), (torch.ones(2, 3),), dynamic_shapes=({0: Dim("n")},))
    with pytest.raises(NotImplementedError, match="4 dynamic sizes"):
        export(lambda x: x, (torch.ones(2, 3, 4, 5),),
               dynamic_shapes=({i: Dim(f"n{i}") for i in range(4)},))
    with pytest.raises(NotImplementedError, match="needs a value"):
        export(lambda x: x if x.sum() > 0 else -x, (torch.ones(2),))


@pytest.mark.parametrize("function", [
    torch.linalg.eigvalsh, torch.linalg.inv, lambda x: torch.logsumexp(x, 1),
    lambda x: torch.linalg.svd(x)[1], lambda x: torch.bucketize(x, torch.tensor([1.5, 2.5])),
])
def test_other_kinds_of_calls(function: Any) -> None:
    x = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    module = reloaded(export(function, (x,))).module()
    for _ in range(2):
        torch.testing.assert_close(module(x), function(x))


@pytest.mark.parametrize("name", [
    "numpy.load", "numpy.frompyfunc", "os.system", "method.tofile", "method.__class__",
    "kernel.random.Generator", "kernel....core.write", "changed.exec", "ours.name_of", "numpy",
    "numpy.add.__class__", "scipy.os", "",
    "operator(1).os.system", "operator(view).nothing", "hidden(1).declare.operator",
    "hidden(1).search.os", "hidden(view).search",
])
def test_files_can_not_name_other_functions(name: str) -> None:
    file = io.BytesIO()
    save(export(lambda x: x + 1, (torch.ones(2),)), file)
    with zipfile.ZipFile(file) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    program = json.loads(members["program.json"])
    program["graph"]["nodes"][0][2] = name
    members["program.json"] = json.dumps(program).encode()
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for n, data in members.items():
            archive.writestr(n, data)
    with pytest.raises(ValueError, match="an exported program can't call"):
        load(changed)


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="not a file of an exported program"):
        load(io.BytesIO(b"PK nothing"))
