"""Tensors come back as they were; files that lie are refused."""

import json
import random

import pytest

import taper as torch
from taper.serialization.safetensors import load_file, read_metadata, save_file

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
    torch.int64, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def as_bytes(tensor) -> list[int]:
    return tensor.contiguous().untyped_storage().tolist()


def write(path, header, data: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)


def entry(dtype="F32", shape=(1,), offsets=(0, 4)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(tmp_path, dtype) -> None:
    tensor = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]).to(dtype)
    save_file({"x": tensor}, tmp_path / "f")
    loaded = load_file(tmp_path / "f")["x"]
    assert loaded.dtype == dtype and loaded.shape == (2, 3)
    assert as_bytes(loaded) == as_bytes(tensor)


def test_shapes_views_and_texts(tmp_path) -> None:
    x = torch.arange(6.0).view(2, 3)
    tensors = {"turned": x.t(), "none": torch.zeros(0, 3), "one": torch.tensor(2), "Ä": x[1]}
    save_file(tensors, str(tmp_path / "f"), metadata={"by": "me"})
    loaded = load_file(tmp_path / "f")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert read_metadata(tmp_path / "f") == {"by": "me"}
    loaded["one"].add_(1)  # it has memory of its own, and may be written to


def test_the_format(tmp_path) -> None:
    save_file({"b": torch.tensor([7], dtype=torch.uint8), "a": torch.tensor([1.0])}, tmp_path / "f")
    data = (tmp_path / "f").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "a": entry(), "b": entry("U8", (1,), (4, 5))
    }
    assert data[8 + length :] == b"\0\0\x80\x3f\x07"


def test_what_cannot_be_saved(tmp_path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "f")
    for bad in ({"x": 1}, {1: torch.ones(1)}):
        with pytest.raises(TypeError, match="takes tensors by name"):
            save_file(bad, tmp_path / "f")
    with pytest.raises(TypeError, match="metadata"):
        save_file({}, tmp_path / "f", {"epoch": 1})
    for bad in (torch.ones(1, dtype=torch.complex128), torch.ones(1, device="meta")):
        with pytest.raises(ValueError, match="tensor 'x'"):
            save_file({"x": bad}, tmp_path / "f")
    with pytest.raises(ValueError, match="__metadata__"):
        save_file({"__metadata__": torch.ones(1)}, tmp_path / "f")
    assert load_file(tmp_path / "f")["x"].tolist() == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


HOSTILE = {
    "no object": [1], "not JSON": b"{", "not UTF-8": b'{"\xff": 1}', "NaN": b'{"x": NaN}',
    "deep": b'{"x":' + b"[" * 100_000, "twice": b'{"x": 1, "x": 2}',
    "metadata": {"__metadata__": {"a": 1}}, "metadata list": {"__metadata__": []},
    "no entry": {"x": 5}, "missing": {"x": {"dtype": "F32", "shape": [1]}},
    "more": {"x": {**entry(), "more": 1}},
    "dtype": {"x": entry("F33")}, "dtype list": {"x": entry(["F32"])},
    "too small": {"x": entry(shape=(2,))}, "negative": {"x": entry(shape=(-1,), offsets=(0, -4))},
    "fractions": {"x": entry(shape=(1.0,))}, "truth": {"x": entry(shape=(True,))},
    "backwards": {"x": entry(offsets=(4, 0))}, "beyond": {"x": entry(offsets=(4, 8))},
    "huge": {"x": entry(shape=(2**62, 2**62), offsets=(0, 4))},
    "three": {"x": entry(offsets=(0, 4, 4))}, "dims": {"x": entry(shape=(1,) * 65)},
    "overlap": {"x": entry(), "y": entry()}, "bytes left": {"x": entry("U8", (1,), (0, 1))},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers(tmp_path, kind) -> None:
    write(tmp_path / "f", HOSTILE[kind], b"\0" * 4)
    with pytest.raises(RuntimeError, match="invalid safetensors file"):
        load_file(tmp_path / "f")


@pytest.mark.parametrize("length", [3, 2**40, 2**63, 2**64 - 1])
def test_hostile_lengths(tmp_path, length) -> None:
    write(tmp_path / "f", {"x": entry()}, b"\0" * 4, length)
    with pytest.raises(RuntimeError, match="invalid safetensors file"):
        load_file(tmp_path / "f")


def test_cut_and_mutated_files(tmp_path) -> None:
    path = tmp_path / "f"
    save_file({"a": torch.arange(5.0), "b": torch.ones(2, 2, dtype=torch.int16)}, path)
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(RuntimeError, match="invalid safetensors file"):
            load_file(path)
    chance = random.Random(0)
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            loaded = load_file(path)
        except RuntimeError as error:
            assert str(error).startswith("invalid safetensors file")
        else:
            assert sum(t.nbytes for t in loaded.values()) == 28
