"""Random checkpoints go from either library to the other, and to itself, bit for bit.

    TAPER_TRIALS=full pytest tests/oracle/test_random_checkpoints.py    200 each way, not 40
    TAPER_TRIALS=1000 …                                                 as many

A failure names its seed: `CheckpointMaker(library, seed)` makes the same checkpoint again.
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serialization"))

torch = pytest.importorskip("torch")

from random_checkpoints import CheckpointMaker, Comparison  # noqa: E402
from trials import trials  # noqa: E402

import taper  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

COUNT = trials(quick=40, full=200)
WAYS = {"to_torch": (taper, torch), "from_torch": (torch, taper), "own": (taper, taper)}


class Journey:
    """How one checkpoint travels: in which format, through what kind of file, read in which way."""

    def __init__(self, writer, reader, seed: int, folder: Path) -> None:
        chance = random.Random(seed)
        self.writer, self.reader, self.folder = writer, reader, folder
        self.zipped = chance.random() < 0.7
        self.protocol = chance.choice([2, 2, 2, 3, 4, 5])
        # PyTorch's own restricted reader knows what protocol 2 has.
        self.trusting = chance.random() < 0.2 or (reader is torch and self.protocol > 2)
        self.medium = chance.choice(["memory", "path", "file", "mapped"])

    def travel(self, value):
        """What comes out after saving and loading."""
        writing = {"pickle_protocol": self.protocol,
                   "_use_new_zipfile_serialization": self.zipped}
        reading = {"weights_only": not self.trusting}
        if self.medium == "memory":
            memory = io.BytesIO()
            self.writer.save(value, memory, **writing)
            memory.seek(0)
            return self.reader.load(memory, **reading)
        path = self.folder / "checkpoint.pt"
        if self.medium == "file":
            with open(path, "wb") as file:
                self.writer.save(value, file, **writing)
            with open(path, "rb") as file:
                return self.reader.load(file, **reading)
        self.writer.save(value, path, **writing)
        if self.medium == "mapped" and self.zipped:
            reading["mmap"] = True
        return self.reader.load(path, **reading)

    def __repr__(self) -> str:
        return (f"zipped={self.zipped} protocol={self.protocol} trusting={self.trusting} "
                f"medium={self.medium}")


def compare(saved, loaded) -> None:
    comparison = Comparison()
    comparison.same(saved, loaded)
    comparison.same_sharing()


@pytest.mark.parametrize("way", WAYS)
def test_random_values(way: str, tmp_path: Path) -> None:
    writer, reader = WAYS[way]
    failures = []
    for seed in range(COUNT):
        writer.manual_seed(seed)
        journey = Journey(writer, reader, seed, tmp_path)
        value = CheckpointMaker(writer, seed, journey.zipped).value()
        try:
            compare(value, journey.travel(value))
        except Exception as error:
            failures.append(f"seed {seed} ({journey}): {type(error).__name__}: {error}"[:300])
    assert not failures, f"{len(failures)} of {COUNT}:\n" + "\n".join(failures[:20])


@pytest.mark.parametrize("way", WAYS)
def test_whole_modules(way: str, tmp_path: Path) -> None:
    """Pickled modules name PyTorch's classes: each library finds its own."""
    writer, reader = WAYS[way]
    failures = []
    for seed in range(COUNT // 4):
        writer.manual_seed(seed)
        journey = Journey(writer, reader, seed, tmp_path)
        journey.trusting = True
        model = CheckpointMaker(writer, seed).network()
        try:
            compare(model, journey.travel(model))
        except Exception as error:
            failures.append(f"seed {seed} ({journey}): {type(error).__name__}: {error}"[:300])
    assert not failures, f"{len(failures)} of {COUNT // 4}:\n" + "\n".join(failures[:20])


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_had_put_off(zipped: bool) -> None:
    """Conjugated and negated views of PyTorch are resolved, and share memory among themselves."""
    x = torch.tensor([[1 + 2j, 3 - 1j], [0.5j, -2]])
    value = [x, x.conj(), x.conj().t(), x.conj().imag, (-x.imag).conj(), x.conj()[1].expand(3, 2)]
    file = io.BytesIO()
    torch.save(value[:3] + value[4:], file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    loaded = taper.load(file)
    assert [t.tolist() for t in loaded] == [t.tolist() for t in value[:3] + value[4:]]
    assert loaded[1].data_ptr() == loaded[2].data_ptr()
    file = io.BytesIO()
    torch.save(value[3], file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    assert taper.load(file).tolist() == value[3].tolist()


@pytest.mark.parametrize("library", [taper, torch], ids=["own", "from_torch"])
def test_typed_storages(library) -> None:
    """Storages of their own are loaded as typed ones, as PyTorch does."""
    tensor = library.arange(3)
    file = io.BytesIO()
    library.save({"typed": tensor.storage(), "tensor": tensor}, file)
    file.seek(0)
    loaded = taper.load(file)
    assert repr(loaded["typed"]).endswith("TypedStorage(dtype=torch.int64, device=cpu) of size 3]")
    loaded["tensor"][0] = 7
    assert loaded["typed"].tolist() == [7, 1, 2]
