"""Saving and loading without PyTorch at hand: files, arguments, damage and replacement."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
from watching import watcher

import taper as torch
from taper.serialization import archive


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    file.seek(0)
    return file


def test_paths_and_file_objects(tmp_path):
    value = {"w": torch.arange(3), "n": 5}
    for target in (tmp_path / "a.pt", str(tmp_path / "b.pt")):
        torch.save(value, target)
        assert torch.load(target)["w"].tolist() == [0, 1, 2]
    with open(tmp_path / "c.pt", "wb") as file:
        torch.save(value, file)
    with open(tmp_path / "c.pt", "rb") as file:
        assert torch.load(file)["n"] == 5


def test_loaded_tensors_can_be_changed_and_differentiated():
    loaded = torch.load(saved(torch.ones(3, requires_grad=True)))
    (loaded * loaded).sum().backward()
    assert loaded.grad.tolist() == [2, 2, 2]
    plain = torch.load(saved(torch.ones(3)))
    plain.add_(1)
    assert plain.tolist() == [2, 2, 2]


def test_parameters_over_the_same_memory_are_saved_once():
    base = torch.zeros(1000)
    value = [base, torch.nn.Parameter(base), base.detach(), base[10:20]]
    with zipfile.ZipFile(saved(value)) as file:
        assert len([name for name in file.namelist() if "/data/" in name]) == 1
    loaded = torch.load(saved(value))
    loaded[0][10] = 5
    assert loaded[1][10].item() == 5
    assert loaded[3][0].item() == 5


def test_memory_seen_as_two_dtypes_is_refused():
    tensor = torch.ones(4)
    with pytest.raises(RuntimeError, match="Cannot save multiple tensors or storages that view"):
        saved([tensor, tensor.view(torch.int32)])


def test_restricted_load_refuses_code():
    class Evil:
        def __reduce__(self):
            return os.mkdir, ("/nonexistent/evil",)

    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL posix\.mkdir whose module posix is"):
        torch.load(saved({"x": Evil()}))


def test_mmap(tmp_path):
    path = tmp_path / "big.pt"
    torch.save({"w": torch.arange(1000), "v": torch.ones(5)}, path)
    before = path.read_bytes()
    loaded = torch.load(path, mmap=True)
    assert loaded["w"].sum().item() == 499500
    loaded["w"][0] = 77  # a private copy of the page
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        torch.load(io.BytesIO(before), mmap=True)


def test_map_location_function():
    seen = []

    def locate(storage, name):
        seen.append((storage.nbytes(), name))
        return storage

    assert torch.load(saved(torch.ones(3)), map_location=locate).tolist() == [1, 1, 1]
    assert seen == [(12, "cpu")]


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda: torch.save(1, 3), AttributeError, "expected 'f' to be string, path, or a file-like"),
    (lambda: torch.save(1, "/nonexistent/x.pt"), RuntimeError,
     "Parent directory /nonexistent does not exist."),
    (lambda: torch.load("/nonexistent/x.pt"), FileNotFoundError, "No such file"),
    (lambda: torch.load(3), AttributeError, "You can only torch.load from a file that is seekable"),
    (lambda: torch.load(io.BytesIO(b"")), EOFError, "Ran out of input"),
    (lambda: torch.load(io.BytesIO(b"abc")), pickle.UnpicklingError, "Weights only load failed"),
    (lambda: torch.load(io.BytesIO(pickle.dumps(3))), RuntimeError, "Invalid magic number"),
    (lambda: torch.load(saved(1), pickle_module=pickle, weights_only=True), RuntimeError,
     "Can not safely load weights when explicit pickle_module is specified"),
    (lambda: torch.load(saved(torch.ones(1)), map_location="cuda"), RuntimeError,
     "Attempting to deserialize object on a CUDA device"),
])  # fmt: skip
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


# -- hostile and damaged files -----------------------------------------------------


def rewritten(change, value=None):
    """A checkpoint whose pickle went through `change`."""
    file = saved(torch.arange(4) if value is None else value)
    result = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(result, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, change(data) if "data.pkl" in info.filename else data)
    result.seek(0)
    return result


def test_numbers_are_checked_against_the_memory():
    """Sizes, strides and offsets that reach outside of the storage."""
    size = b"K\x00K\x04\x85"  # offset 0, size (4,)
    for wrong in (b"K\x01K\x04\x85", b"K\x00K\x05\x85", b"K\x00J\xff\xff\xff\xff\x85",
                  b"J\xff\xff\xff\xffK\x04\x85", b"K\x00J\xff\xff\xff\x7f\x85"):
        with pytest.raises((RuntimeError, pickle.UnpicklingError)):
            torch.load(rewritten(lambda data, wrong=wrong: data.replace(size, wrong)))


PICKLES = {
    "huge argument": b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x40\x85R.",
    "codec by name": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.",
    "eval": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    "INST": b"(X\x01\x00\x00\x001ibuiltins\neval\n.",
    "OBJ": b"(cbuiltins\neval\nX\x01\x00\x00\x001o.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "EXT1": b"\x80\x02\x82\x01.",
    "NEWOBJ_EX": b"\x80\x04cbuiltins\nset\n)}\x92.",
    "torch.Tensor with a size": b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
    "BUILD on a class": b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
    "BUILD of a method": b"\x80\x02ccollections\nOrderedDict\n)R}"
                         b"X\x09\x00\x00\x00__class__K\x01sb.",
    "SETITEM on a tuple": b"\x80\x02)K\x01K\x02s.",
    "APPEND to a dict": b"\x80\x02}K\x01a.",
    "memo that isn't there": b"\x80\x02h\x05.",
    "no mark": b"\x80\x02K\x01t.",
    "empty stack": b"\x80\x02.",
    "no stop": b"\x80\x02K\x01",
    "persistent id of no storage": b"\x80\x02K\x01Q.",
    "attribute of a module": b"\x80\x02ctorch\nserialization.os.system\n.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "rebuild with a function": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\n"
                               b"ctorch\nTensor\nX\x01\x00\x00\x00a\x85}tR.",
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles(name):
    file = rewritten(lambda data: PICKLES[name])
    with watcher as events, pytest.raises((pickle.UnpicklingError, RuntimeError)):
        torch.load(file)
    assert not events


@pytest.mark.parametrize("zipped", [True, False])
def test_changed_bytes_never_do_more_than_raise(zipped):
    value = {"a": torch.arange(6).reshape(2, 3), "b": OrderedDict(x=[1, 2.5, "text", (None, True)]),
             "p": torch.nn.Parameter(torch.ones(2)), "h": torch.ones(2, dtype=torch.bfloat16)}
    raw = saved(value, _use_new_zipfile_serialization=zipped).getvalue()
    random.seed(0)
    loaded = 0
    for _ in range(1500):
        damaged = bytearray(raw)
        for _ in range(random.choice([1, 1, 2, 5])):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        if random.random() < 0.2:
            del damaged[random.randrange(len(damaged)):]
        try:
            torch.load(io.BytesIO(bytes(damaged)))
            loaded += 1
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, NotImplementedError):
            pass  # ValueError: an unknown byte order
    assert loaded  # most changes hit numbers


def test_archives_with_tricks():
    raw = saved(torch.ones(2))
    compressed = io.BytesIO()
    with zipfile.ZipFile(raw) as old, zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    compressed.seek(0)
    with pytest.raises(RuntimeError, match="compressed"):
        torch.load(compressed)
    twice = saved(torch.ones(2))
    with pytest.warns(UserWarning), zipfile.ZipFile(twice, "a") as file:
        file.writestr("archive/data.pkl", b"N.")
    twice.seek(0)
    with pytest.raises(RuntimeError, match="two records"):
        torch.load(twice)


# -- replacement --------------------------------------------------------------------


def test_failures_leave_the_old_file(tmp_path, monkeypatch):
    """No space left at each write call in turn: the old checkpoint stays, and nothing else."""
    path = tmp_path / "model.pt"
    torch.save({"epoch": 1, "w": torch.zeros(100)}, path)
    count = 0

    def failing_put(self, data, limit):
        nonlocal count
        count += 1
        if count > limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, data)

    original = archive.ArchiveWriter._put
    for limit in range(40):
        count = 0
        monkeypatch.setattr(archive.ArchiveWriter, "_put",
                            lambda self, data, limit=limit: failing_put(self, data, limit))
        try:
            torch.save({"epoch": 2, "w": torch.zeros(100)}, path)
        except OSError:
            assert torch.load(path)["epoch"] == 1
            assert os.listdir(tmp_path) == ["model.pt"]
        else:
            break
    assert limit > 5
    assert torch.load(path)["epoch"] == 2


def test_errors_while_pickling_leave_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(1, path)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        torch.save(lambda: None, path)
    assert torch.load(path) == 1
    assert os.listdir(tmp_path) == ["model.pt"]


def test_links_and_modes_are_kept(tmp_path):
    real, link = tmp_path / "real.pt", tmp_path / "link.pt"
    torch.save(1, real)
    real.chmod(0o640)
    link.symlink_to(real)
    torch.save(2, link)
    assert link.is_symlink()
    assert torch.load(real) == 2
    assert real.stat().st_mode & 0o777 == 0o640


def test_large_sizes_have_wide_fields():
    """Records from 4 GiB on: only the headers are looked at."""

    class Counting(io.RawIOBase):
        def __init__(self):
            self.position, self.kept = 0, {}

        def write(self, data):
            if len(data) < 1 << 20:
                self.kept[self.position] = bytes(data)
            self.position += len(data)
            return len(data)

    import numpy as np

    file = Counting()
    writer = archive.ArchiveWriter(file, "a")
    torch.serialization.set_crc32_options(False)
    try:
        huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1,), (1,))
        big = np.broadcast_to(huge, (1 << 20,)).copy()
        writer._offset = (1 << 32) + 64  # as if 4 GiB had been written
        file.position = writer._offset
        writer.write("x", big)
        writer.close()
    finally:
        torch.serialization.set_crc32_options(True)
    tail = b"".join(file.kept[key] for key in sorted(file.kept))
    assert b"PK\x06\x06" in tail
    assert b"PK\x06\x07" in tail
    assert ((1 << 32) + 64).to_bytes(8, "little") in tail


# -- ordinary pickles ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_ordinary_pickles(protocol):
    base = torch.arange(6).reshape(2, 3)
    value = {
        "base": base, "view": base.t()[1:], "parameter": torch.nn.Parameter(torch.ones(2)),
        "size": base.shape, "dtype": torch.bfloat16, "device": torch.device("cpu"),
        "half": torch.ones(2, dtype=torch.float16, requires_grad=True),
    }
    loaded = pickle.loads(pickle.dumps(value, protocol))
    assert repr(loaded) == repr(value)
    loaded["base"][0, 1] = 50
    assert loaded["view"][0, 0].item() == 50
    assert type(loaded["parameter"]) is torch.nn.Parameter


def test_out_of_band_buffers():
    tensor = torch.arange(1000)
    buffers = []
    data = pickle.dumps(tensor, 5, buffer_callback=buffers.append)
    assert len(data) < 1000
    assert len(buffers) == 1
    loaded = pickle.loads(data, buffers=[bytes(buffers[0])])
    loaded.add_(1)
    assert loaded.sum().item() == 500500
