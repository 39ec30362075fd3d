"""Files of the `safetensors` package and taper's: what either writes, the other reads, bit for bit.

    TAPER_TRIALS=full pytest tests/oracle/test_safetensors_exchange.py    200 files each way, not 40
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serialization"))

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("safetensors.torch")
numpys = pytest.importorskip("safetensors.numpy")

from random_checkpoints import DTYPES, CheckpointMaker, raw  # noqa: E402
from safetensors import SafetensorError, safe_open  # noqa: E402
from trials import trials  # noqa: E402

import taper  # noqa: E402
from taper.serialization import safetensors as ours  # noqa: E402

COUNT = trials(quick=40, full=200)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

EXCHANGED = [dtype for dtype in DTYPES if dtype != "complex128"]  # the format has no name for it


def tensors_of(library, seed: int) -> dict:
    """Random tensors by random names, of every dtype and shape."""
    chance, maker = random.Random(seed), CheckpointMaker(library, seed)
    found = {}
    for number in range(chance.randrange(1, 12)):
        dtype = chance.choice(EXCHANGED)
        shape = maker.shape()
        tensor = maker.bits(dtype, int(np.prod(shape))).view(shape)
        found[chance.choice(["weight", "ä€", "", "a.b", "x" * 100]) + str(number)] = tensor
    return found


def assert_same(saved: dict, loaded: dict) -> None:
    assert saved.keys() == loaded.keys()
    for name, tensor in saved.items():
        other = loaded[name]
        assert str(tensor.dtype) == str(other.dtype), name
        assert tuple(tensor.shape) == tuple(other.shape), name
        if tensor.numel():
            assert raw(tensor.contiguous().untyped_storage()) == (
                raw(other.contiguous().untyped_storage())), name


def test_to_their_package(tmp_path: Path) -> None:
    for seed in range(COUNT):
        saved = tensors_of(taper, seed)
        for name in [name for name, tensor in saved.items() if tensor.dim() > 1][::2]:
            saved[name] = saved[name].transpose(0, 1)  # their package wants contiguous ones
        ours.save_file(saved, tmp_path / "f", {"seed": str(seed)})
        assert_same(saved, theirs.load_file(tmp_path / "f"))
        with safe_open(tmp_path / "f", "pt") as file:
            assert file.metadata() == {"seed": str(seed)}


def test_from_their_package(tmp_path: Path) -> None:
    for seed in range(COUNT):
        saved = tensors_of(torch, seed)
        theirs.save_file(saved, tmp_path / "f", {"seed": str(seed)})
        assert_same(saved, ours.load_file(tmp_path / "f"))
        assert ours.read_metadata(tmp_path / "f") == {"seed": str(seed)}


def test_from_numpy(tmp_path: Path) -> None:
    saved = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True)}
    numpys.save_file(saved, tmp_path / "f")
    loaded = ours.load_file(tmp_path / "f")
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: array.tolist() for name, array in saved.items()}


def header_of(content: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def test_the_same_bytes(tmp_path: Path) -> None:
    """Headers say the same, and the same bytes lie where they say."""
    for seed in range(COUNT):
        theirs.save_file(tensors_of(torch, seed), tmp_path / "theirs", {"format": "pt"})
        ours.save_file(tensors_of(taper, seed), tmp_path / "ours", {"format": "pt"})
        (header, data), (header_2, data_2) = (
            header_of((tmp_path / name).read_bytes()) for name in ("theirs", "ours"))
        assert header.keys() == header_2.keys()
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                begin_2, end_2 = header_2[name]["data_offsets"]
                assert (entry["dtype"], entry["shape"]) == (
                    header_2[name]["dtype"], header_2[name]["shape"])
                assert data[begin:end] == data_2[begin_2:end_2]
        assert len(data) == len(data_2)


def test_the_same_files_are_refused(tmp_path: Path) -> None:
    """Damaged files: what their package refuses, we do; what we alone refuse is listed here."""
    from damaged_files import damaged

    alone = both = 0
    path = tmp_path / "f"
    for seed in range(COUNT * 25):
        form, done, content = damaged(seed)
        if form != "safetensors":
            continue
        path.write_bytes(content)
        try:
            loaded = ours.load_file(path)
        except RuntimeError as error:
            loaded = str(error)
        try:
            expected = theirs.load_file(path)
        except (SafetensorError, KeyError, AttributeError, TypeError, ValueError, RuntimeError):
            expected = None
        if expected is None:
            assert isinstance(loaded, str), f"{seed} ({done}): we read what they refuse"
            both += 1
        elif isinstance(loaded, str):
            alone += 1
            assert any(word in loaded for word in ("twice", "isn't described by")), (
                f"{seed} ({done}): {loaded}")
        else:
            assert_same(expected, loaded)
    assert both > COUNT / 4
