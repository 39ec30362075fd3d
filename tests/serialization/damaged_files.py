"""Checkpoints and safetensors files, and what becomes of them: random damage of twelve kinds.

`sound_files` are good ones; `damaged` makes a bad one from one of them, by a seed.
"""

from __future__ import annotations

import functools
import io
import json
import os
import random
import struct
import tempfile
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable

import taper as torch
from taper.serialization.safetensors import save_file

__all__ = ["DAMAGES", "damaged", "sound_files"]


def values() -> list[object]:
    """What is saved: the kinds of objects that files have, small, so that damage hits them all."""
    base = torch.arange(24).reshape(4, 6)
    sparse = torch.eye(3)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return [
        {"a": base, "view": base.t()[1:, ::2], "number": base[3, 5], "wide": base[:1].expand(3, 6)},
        {"o": OrderedDict(x=[1, 2.5, "text", (None, True)]), "c": Counter("abca"), "s": {1, (2, 3)},
         "b": [b"bytes", bytearray(b"array"), 2**70, 1 - 2j], ("k", 1): torch.Size([2, 3])},
        {"p": torch.nn.Parameter(torch.ones(2)), "h": torch.ones(2, dtype=torch.bfloat16),
         "e": torch.ones(3).to(torch.float8_e5m2), "m": torch.empty(2, device="meta"),
         "d": torch.float16, "g": torch.ones(2, requires_grad=True), "n": torch.zeros(0, 3)},
        [sparse.to_sparse(), sparse.to_sparse_csr(), sparse.to_sparse_bsc((3, 1))],
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
        {f"layer{i}": torch.full((i,), i) for i in range(40)},
        torch.arange(20_000, dtype=torch.float64),
    ]


@functools.cache
def sound_files() -> list[tuple[str, bytes]]:
    """Pairs of a format ("zip", "legacy" or "safetensors") and a file."""
    found = []
    for number, value in enumerate(values()):
        for zipped, protocol in ((True, 2), (True, 4), (False, 2)):
            file = io.BytesIO()
            torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            found.append(("zip" if zipped else "legacy", file.getvalue()))
        if number % 2:
            found.append(("zip", written_by_others(found[-2][1])))
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 2, dtype=torch.int16),
               "c": torch.zeros(0), "d": torch.tensor(True), "e": torch.ones(3).bfloat16()}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "f")
        for some in (tensors, {f"layer.{i}": torch.full((i,), i) for i in range(30)}):
            save_file(some, path, {"format": "pt"})
            with open(path, "rb") as file:
                found.append(("safetensors", file.read()))
    return found


def written_by_others(content: bytes) -> bytes:
    """The same records as a common zip program writes them."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return result.getvalue()


# -- damage: (content, chance) → content -------------------------------------------------------


def flip_bits(content: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def change_bytes(content: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        content[chance.randrange(len(content))] = chance.choice([0, 1, 127, 128, 255,
                                                                 chance.randrange(256)])
    return content


def change_what_is_dense(content: bytearray, chance: random.Random) -> bytearray:
    """Bytes among others that aren't zero: names, instructions, headers."""
    places = [n for n, byte in enumerate(content) if byte]
    for _ in range(chance.choice([1, 1, 2, 5])):
        content[chance.choice(places)] = chance.randrange(256)
    return content


def truncate(content: bytearray, chance: random.Random) -> bytearray:
    return content[: chance.randrange(len(content))]


def cut_the_beginning(content: bytearray, chance: random.Random) -> bytearray:
    return content[chance.randrange(1, min(len(content), 200)):]


def insert(content: bytearray, chance: random.Random) -> bytearray:
    at = chance.randrange(len(content))
    content[at:at] = chance.randbytes(chance.choice([1, 2, 4, 8, 64, 1000]))
    return content


def remove(content: bytearray, chance: random.Random) -> bytearray:
    at = chance.randrange(len(content))
    del content[at : at + chance.choice([1, 2, 4, 8, 64, 1000])]
    return content


def repeat(content: bytearray, chance: random.Random) -> bytearray:
    """A piece comes many times."""
    at, size = chance.randrange(len(content)), chance.choice([1, 2, 5, 9, 40])
    content[at:at] = content[at : at + size] * chance.choice([1, 10, 100, 1000])
    return content


def swap(content: bytearray, chance: random.Random) -> bytearray:
    """Two pieces change places."""
    size = chance.choice([1, 2, 4, 16, 64, 256])
    if len(content) < 2 * size + 2:
        return content
    first = chance.randrange(len(content) - 2 * size)
    second = chance.randrange(first + size, len(content) - size + 1)
    one, other = content[first : first + size], content[second : second + size]
    content[first : first + size], content[second : second + size] = other, one
    return content


NUMBERS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63,
           2**64 - 1, 2**40, 64]


def write_numbers(content: bytearray, chance: random.Random) -> bytearray:
    """Extreme numbers, wherever."""
    for _ in range(chance.choice([1, 2, 4])):
        size = chance.choice([1, 2, 4, 8])
        at = chance.randrange(max(1, len(content) - size))
        content[at : at + size] = (chance.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(
            size, chance.choice(["little", "little", "big"]))
    return content


HEADERS = {b"PK\1\2": 46, b"PK\3\4": 30, b"PK\5\6": 22, b"PK\6\6": 56, b"PK\6\7": 20}


def lie_in_headers(content: bytearray, chance: random.Random) -> bytearray:
    """Sizes, offsets and counts of a zip archive or in the header of safetensors."""
    places = [(at, size) for mark, size in HEADERS.items()
              for at in range(len(content) - size) if content[at : at + 4] == mark]
    if not places:
        return lie_in_json(content, chance)
    for _ in range(chance.choice([1, 1, 3])):
        at, length = chance.choice(places)
        size = chance.choice([2, 4, 4])
        field = at + 4 + 2 * chance.randrange((length - 4 - size) // 2 + 1)
        own = int.from_bytes(content[field : field + size], "little")
        number = chance.choice([*NUMBERS, own + 1, own - 1, own * 2, own + 64, len(content)])
        content[field : field + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    return content


def lie_in_json(content: bytearray, chance: random.Random) -> bytearray:
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return write_numbers(content, chance)
    name = chance.choice(sorted(header))
    odd = [*NUMBERS, -1, 1.5, "F64", [], {}, None, True, [2**62, 2**62, 0], [1] * 70, 10**400,
           [[[]]], "\0", [-1, 4]]
    key = chance.choice(sorted(header[name]) or ["x"])
    header[name] = {**header[name], key: chance.choice(odd)}
    text = json.dumps(header).encode()
    return bytearray(struct.pack("<Q", len(text)) + text + content[8 + length :])


def lie_in_pickle(content: bytearray, chance: random.Random) -> bytearray:
    """Numbers in a pickle become others: sizes, strides, offsets, places in the memo."""
    end = content.find(b"PK\3\4", 64) if content[:4] == b"PK\3\4" else len(content)
    places = [n for n in range(len(content[:end]) - 5) if content[n : n + 1] in b"KMJqhrj"]
    if not places:
        return write_numbers(content, chance)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.choice(places)
        size = {b"K": 1, b"M": 2, b"q": 1, b"h": 1}.get(bytes(content[at : at + 1]), 4)
        if chance.random() < 0.3 and content[:4] != b"PK\3\4":  # a long one; the rest moves on
            number = chance.choice([2**62, -1, 2**63, 2**64, 2**100, -(2**63)])
            raw = number.to_bytes(16, "little", signed=True)
            content[at : at + 1 + size] = b"\x8a" + bytes([len(raw)]) + raw
        else:
            content[at + 1 : at + 1 + size] = (chance.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(
                size, "little")
    return content


def nest(content: bytearray, chance: random.Random) -> bytearray:
    """Marks, lists, tuples, copies from the memo, again and again, at a place in the pickle."""
    at = chance.randrange(min(len(content), 2000))
    piece = chance.choice([b"(", b"]", b"}", b"\x85", b"(l", b"h\x00", b"h\x01", b"h\x00h\x00\x86",
                           b"]q\x05", b"h\x05\x85q\x05", b"h\x05h\x05\x86q\x05", b"R", b")R", b"Q",
                           b"e", b"h\x00e", b"u", b"b", b"\x8f", b"\x91"])
    content[at:at] = piece * chance.choice([1, 5, 100, 10_000])
    return content


DAMAGES: list[Callable[[bytearray, random.Random], bytearray]] = [
    flip_bits, change_bytes, change_what_is_dense, truncate, cut_the_beginning, insert, remove,
    repeat, swap, write_numbers, lie_in_headers, lie_in_pickle, nest,
]


def damaged(seed: int) -> tuple[str, str, bytes]:
    """A file's format, what was done to it, and what became of it."""
    chance = random.Random(seed)
    form, sound = chance.choice(sound_files())
    content, done = bytearray(sound), []
    for damage in chance.choices(DAMAGES, k=chance.choice([1, 1, 1, 2, 3])):
        content = damage(content, chance) or bytearray(b"\0")
        done.append(damage.__name__)
    return form, " ".join(done), bytes(content)
