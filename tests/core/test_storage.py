"""Storages over files, whose bytes are read when they are looked at."""

import pytest

import taper as torch


def test_bytes_of_a_file(tmp_path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(8)))
    storage = torch.UntypedStorage.from_file(path, False, 4)
    assert storage.tolist() == [0, 1, 2, 3] and len(storage[1:3]) == 2
    storage[0] = 9
    assert path.read_bytes() == bytes(range(8))
    assert torch.UntypedStorage.from_file(str(path)).nbytes() == 8


def test_shared(tmp_path) -> None:
    path = tmp_path / "made"
    storage = torch.UntypedStorage.from_file(path, True, 4)
    storage[1] = 7
    del storage
    assert path.read_bytes() == b"\0\7\0\0"


def test_short_and_empty_files(tmp_path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert torch.UntypedStorage.from_file(path).nbytes() == 0
    with pytest.raises(RuntimeError, match="unable to mmap 4 bytes"):
        torch.UntypedStorage.from_file(path, False, 4)
    with pytest.raises(RuntimeError, match="step of 2"):
        torch.ones(2).untyped_storage()[::2]


def test_as_a_tensor() -> None:
    x = torch.tensor([1, 2], dtype=torch.int16)
    assert torch.asarray(x.untyped_storage(), dtype=torch.uint8).tolist() == [1, 0, 2, 0]


def test_a_tensor_over_a_storage_shares_its_bytes():
    x = torch.arange(4.0)
    whole = torch.asarray(x.untyped_storage(), dtype=torch.float32)
    part = torch.tensor(x.untyped_storage()[4:12], dtype=torch.float32)
    x[1] = 7
    assert whole.tolist() == [0, 7, 2, 3] and part.tolist() == [7, 2]
    assert torch.asarray(x.untyped_storage()).dtype is torch.int64
    with pytest.warns(UserWarning, match="TypedStorage is deprecated"):
        typed = x.storage()
    assert torch.as_tensor(typed).data_ptr() == x.data_ptr()
    with pytest.raises(RuntimeError, match="Expected a Storage of type Int or an UntypedStorage"):
        torch.asarray(typed, dtype=torch.int32)


def test_a_tensor_over_a_part_of_a_file(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(16)))
    storage = torch.UntypedStorage.from_file(path, nbytes=16)
    part = torch.asarray(storage[3:9], dtype=torch.uint8)
    assert part.tolist() == [3, 4, 5, 6, 7, 8]
    assert part.view(torch.int16).reshape(3, 1).shape == (3, 1)
    assert torch.asarray(storage[1:8], dtype=torch.int32).tolist() == [0x04030201]
