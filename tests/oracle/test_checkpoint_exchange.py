"""Files against PyTorch: what either side writes, the other reads, bit for bit."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

SIDES = [(taper, torch), (torch, taper), (taper, taper)]
SIDE_NAMES = ["to_torch", "from_torch", "own"]
DTYPES = """
    bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 float32 float64 bfloat16
    float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu complex64
    complex128
""".split()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(params=SIDES, ids=SIDE_NAMES)
def sides(request):
    return request.param


def carry(value, sides, **options):
    """Saves on one side, loads on the other."""
    writer, reader = sides
    file = io.BytesIO()
    writer.save(value, file, **options)
    file.seek(0)
    return reader.load(file)


def bits(tensor):
    return bytes(tensor.untyped_storage().tolist())


def shape_of(tensor):
    return (
        str(tensor.dtype), tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset(),
        tensor.requires_grad,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(sides, dtype):
    values = sides[0].tensor([0, 1, 1, 0, 1]).to(getattr(sides[0], dtype))
    loaded = carry(values, sides)
    assert shape_of(loaded) == shape_of(values)
    assert bits(loaded) == bits(values)


def test_views_share_their_storage(sides):
    base = sides[0].arange(24).reshape(4, 6)
    views = {
        "base": base, "rows": base[1:3], "strided": base[::2, 1::3], "transposed": base.t(),
        "number": base[3, 5], "expanded": base[0:1].expand(3, 6), "flat": base.view(-1),
    }
    loaded = carry(views, sides)
    for name, view in views.items():
        assert shape_of(loaded[name]) == shape_of(view), name
        assert loaded[name].tolist() == view.tolist(), name
    loaded["base"][3, 5] = 100
    assert loaded["number"].item() == 100
    assert loaded["flat"][-1].item() == 100


def test_sizes_of_zero_and_scalars(sides):
    for tensor in (sides[0].empty(0, 3), sides[0].tensor(2.5), sides[0].zeros(2, 0, 1)):
        loaded = carry(tensor, sides)
        assert tuple(loaded.shape) == tuple(tensor.shape)
        assert loaded.tolist() == tensor.tolist()


@pytest.mark.parametrize("protocol", [2, 3])
def test_containers(sides, protocol):
    value = {
        "numbers": [1, -(2**70), 255, 65536, 1.5, float("inf"), True, None, 1 + 2j],
        "text": ["ü", "x" * 1000, b"bytes\xff", bytearray(b"array")],
        ("tuple", 1): ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "ordered": collections.OrderedDict([("z", 1), ("a", [])]),
        "counted": collections.Counter("abca"),
        "set": {1, 2, "x"},
    }
    value["again"] = value["ordered"]
    if protocol == 3:  # PyTorch's restricted reader knows protocol 2's bytes only
        value["text"] = ["ü"]
    loaded = carry(value, sides, pickle_protocol=protocol)
    assert loaded == value
    assert type(loaded["ordered"]) is collections.OrderedDict
    assert loaded["again"] is loaded["ordered"]


def test_what_describes_tensors(sides):
    writer = sides[0]
    value = [writer.float32, writer.bfloat16, writer.device("cpu"), writer.Size([2, 3]),
             writer.strided]
    assert repr(carry(value, sides)) == repr(value)


def test_parameters_and_attributes(sides):
    writer, reader = sides
    parameter = writer.nn.Parameter(writer.ones(2), requires_grad=False)
    marked = writer.nn.Parameter(writer.ones(2))
    marked.note = "here"
    tensor = writer.ones(2, requires_grad=True)
    loaded = carry([parameter, marked, tensor], sides)
    assert [type(x) for x in loaded] == [reader.nn.Parameter, reader.nn.Parameter, reader.Tensor]
    assert [x.requires_grad for x in loaded] == [False, True, True]
    assert loaded[1].note == "here"


def network(library):
    nn = library.nn
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Sequential(nn.Linear(6, 2, bias=False))
    )


def test_state_dicts(sides):
    writer, reader = sides
    state = network(writer).state_dict()
    loaded = carry(state, sides)
    assert type(loaded) is collections.OrderedDict
    assert list(loaded) == list(state)
    assert loaded._metadata == state._metadata
    fresh = network(reader)
    assert not any(fresh.load_state_dict(loaded))
    for name, value in fresh.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name].numpy())


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "RMSprop", "NAdam", "ASGD"])
def test_training_goes_on_from_the_others_checkpoint(sides, name):
    def data(library, step):
        rng = np.random.default_rng(step)
        return library.tensor(rng.standard_normal((8, 3))), library.tensor(rng.random((8, 1)))

    def start(library):
        model = library.nn.Linear(3, 1, dtype=library.float64)
        with library.no_grad():
            model.weight.copy_(library.tensor([[0.5, -0.3, 0.2]]))
            model.bias.fill_(0.1)
        options = {"momentum": 0.9} if name == "SGD" else {}
        return model, getattr(library.optim, name)(model.parameters(), lr=0.05, **options)

    def train(library, model, optimizer, steps):
        for step in steps:
            x, y = data(library, step)
            optimizer.zero_grad()
            library.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    writer, reader = sides
    model, optimizer = start(writer)
    train(writer, model, optimizer, range(5))
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 5}
    loaded = carry(saved, sides)
    other, other_optimizer = start(reader)
    other.load_state_dict(loaded["model"])
    other_optimizer.load_state_dict(loaded["optimizer"])
    train(writer, model, optimizer, range(5, 10))
    train(reader, other, other_optimizer, range(5, 10))
    # NAdam's product of momenta is in single precision until it is loaded, then in double.
    np.testing.assert_allclose(
        other.weight.detach().numpy(), model.weight.detach().numpy(), rtol=1e-7
    )


def test_whole_modules(sides):
    """Pickled modules name classes: each side finds its own."""
    writer, reader = sides
    model = network(writer).eval()
    file = io.BytesIO()
    writer.save(model, file)
    file.seek(0)
    loaded = reader.load(file, weights_only=False)
    assert type(loaded) is reader.nn.Sequential
    assert not loaded.training
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    with writer.no_grad(), reader.no_grad():
        np.testing.assert_allclose(
            loaded(reader.tensor(x)).numpy(), model(writer.tensor(x)).numpy(), rtol=1e-5
        )


@pytest.mark.parametrize("restricted", [True, False])
def test_legacy_format(sides, restricted):
    writer, reader = sides
    base = writer.arange(6).reshape(2, 3)
    file = io.BytesIO()
    writer.save({"a": base, "b": base.t(), "n": 1}, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    loaded = reader.load(file, weights_only=restricted)
    loaded["a"][0, 1] = 7
    assert loaded["b"].tolist() == [[0, 3], [7, 4], [2, 5]]


def test_sparse_tensors(sides):
    dense = sides[0].tensor([[0.0, 2.0], [3.0, 0.0]])
    for sparse in (dense.to_sparse(), dense.to_sparse_csr()):
        loaded = carry(sparse, sides)
        assert str(loaded.layout) == str(sparse.layout)
        assert loaded.to_dense().tolist() == dense.tolist()


def test_meta_tensors(sides):
    loaded = carry(sides[0].empty(2, 3, device="meta"), sides)
    assert (str(loaded.device), tuple(loaded.shape)) == ("meta", (2, 3))


def test_lazily_conjugated_tensors_of_torch():
    tensor = torch.tensor([1 + 2j, 3 - 1j])
    assert carry(tensor.conj(), (torch, taper)).tolist() == [1 - 2j, 3 + 1j]
    assert carry(tensor.conj().imag, (torch, taper)).tolist() == [-2, 1]


def test_big_endian_files_of_torch():
    """A file as a big-endian machine would have written it."""
    file = io.BytesIO()
    torch.save(torch.tensor([1.0, 2.0, -3.5]), file)
    swapped = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(swapped, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("/byteorder"):
                data = b"big"
            elif "/data/" in info.filename:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            new.writestr(info.filename, data)
    swapped.seek(0)
    assert taper.load(swapped).tolist() == [1.0, 2.0, -3.5]


def test_same_layout_of_the_archive(tmp_path):
    """The records of both files have the same names, in the same order, equally aligned."""
    layouts = []
    for library in (taper, torch):
        path = tmp_path / "model.pt"
        library.save({"w": library.ones(3), "b": library.zeros(2)}, path)
        raw = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            found = []
            for info in archive.infolist():
                assert info.compress_type == zipfile.ZIP_STORED
                at = info.header_offset
                sizes = int.from_bytes(raw[at + 26 : at + 28], "little") + int.from_bytes(
                    raw[at + 28 : at + 30], "little"
                )
                assert (at + 30 + sizes) % 64 == 0
                found.append(info.filename)
            pickled = archive.read("model/data.pkl")
        layouts.append((found, pickled))
    assert layouts[0][0] == layouts[1][0]
    names = [list(globals_of(pickled)) for _, pickled in layouts]
    assert names[0] == names[1]


def globals_of(pickled):
    import pickletools

    for instruction, argument, _ in pickletools.genops(pickled):
        if instruction.name == "GLOBAL":
            yield argument


class Unknown:
    pass


@pytest.mark.parametrize("value", [Unknown(), {"x": [Unknown()]}, frozenset([1]), range(3),
                                   np.ones(2), torch.nn.Linear(1, 1)], ids=type)
def test_the_same_names_are_refused(value):
    file = io.BytesIO()
    torch.save(value, file)
    messages = []
    for library in (torch, taper):
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError) as caught:
            library.load(file)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    refused = []
    for library in (torch, taper):
        file.seek(0)
        refused.append(set(library.serialization.get_unsafe_globals_in_checkpoint(file)))
    assert refused[0] == refused[1]


def test_allowed_names_are_loaded():
    file = io.BytesIO()
    value = Unknown()
    value.data = torch.ones(2)
    torch.save(value, file)
    file.seek(0)
    with taper.serialization.safe_globals([Unknown]):
        assert taper.load(file).data.tolist() == [1, 1]
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        taper.load(file)


@pytest.mark.parametrize(
    "location", [None, "cpu", {"cuda:0": "cpu"}, lambda storage, name: storage],
    ids=["none", "device", "map", "function"],
)
def test_files_from_a_gpu(location):
    """Both sides refuse, or restore, what was on a device that isn't here."""
    raw = io.BytesIO()
    torch.save(torch.ones(2), raw)
    rewritten = io.BytesIO()
    with zipfile.ZipFile(raw) as old, zipfile.ZipFile(rewritten, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("data.pkl"):
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
            new.writestr(info.filename, data)
    outcomes = []
    for library in (torch, taper):
        rewritten.seek(0)
        try:
            outcomes.append(library.load(rewritten, map_location=location).tolist())
        except RuntimeError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_results_of_operators(sides):
    """Tuples with names have a class in ``torch.return_types``."""
    writer, reader = sides
    x = writer.tensor([[2.0, 1.0], [1.0, 3.0]])
    for value in (x.max(1), x.sort(0), writer.linalg.eigh(x)):
        file = io.BytesIO()
        writer.save(value, file)
        file.seek(0)
        assert repr(reader.load(file, weights_only=False)) == repr(value)
