"""Small files that ask for a lot: of memory, of time, or of the stack."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable

from hostile_pickles import archive, legacy

__all__ = ["BOMBS"]

Bomb = Callable[[], tuple[str, bytes]]
BOMBS: dict[str, Bomb] = {}  # name → format and content
START, STOP = b"\x80\x02", b"."
MANY = 100_000


def bomb(make: Bomb) -> Bomb:
    """Adds one to the list."""
    BOMBS[make.__name__] = make
    return make


def in_archive(name: str, body: bytes) -> None:
    """Adds a pickle, in an archive and in the older format (`…_legacy`)."""
    BOMBS[name] = lambda: ("zip", archive(START + body + STOP))
    BOMBS[f"{name}_legacy"] = lambda: ("legacy", legacy(3)(START + body + STOP))


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def long(number: int) -> bytes:
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(long, values)) + b"t"


# A tuple that holds itself 2^60 times over; it is put into the memo at 0.
DOUBLED = b")" + b"q\x000h\x00h\x00\x86" * 60
DEEP = b")" + b"\x85" * 150_000
# An int64 of one element, seen as 2^40 of them.
STORAGE = (b"(" + text("storage") + name("torch", "LongStorage") + text("0") + text("cpu")
           + b"K\x01tQ")


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00", metadata: bytes = b"") -> bytes:
    return (name("torch._utils", "_rebuild_tensor_v2") + b"(" + STORAGE + offset + size + stride
            + b"\x89" + name("collections", "OrderedDict") + b")R" + metadata + b"tR")


HUGE = tensor(numbers(2**40), numbers(0))
FLAT = tensor(numbers(2**40, 2), numbers(0, 0))


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


# -- keys -------------------------------------------------------------------------------------

for kind, key in {"doubled": DOUBLED, "deep": DEEP}.items():
    in_archive(f"{kind}_key", b"}" + key + b"Ns")
    in_archive(f"{kind}_keys", b"}(" + key + b"Nu")
    in_archive(f"{kind}_in_set", call("builtins", "set", b"](" + key + b"e"))
    in_archive(f"{kind}_in_new_set", b"\x8f(" + key + b"\x90")
    in_archive(f"{kind}_in_frozenset", b"(" + key + b"\x91")
    in_archive(f"{kind}_pairs", call("collections", "OrderedDict", b"](" + key + b"N\x86e"))
    in_archive(f"{kind}_counted", call("collections", "Counter", b"](" + key + b"e"))
    in_archive(f"{kind}_layout", call("torch.serialization", "_get_layout", key))
    in_archive(f"{kind}_id", key + b"Q")
    in_archive(f"{kind}_storage", b"(" + text("storage") + name("torch", "LongStorage") + key
               + text("cpu") + b"K\x01tQ")
    in_archive(f"{kind}_location", b"(" + text("storage") + name("torch", "LongStorage")
               + text("0") + key + b"K\x01tQ")
    in_archive(f"{kind}_function", key + b")R")
    in_archive(f"{kind}_class", key + b")\x81")
    in_archive(f"{kind}_built", key + b"}b")
    in_archive(f"{kind}_arguments", name("torch", "device") + key + b"R")
    in_archive(f"{kind}_complex", call("builtins", "complex", key))
    in_archive(f"{kind}_size", call("torch", "Size", key))
    in_archive(f"{kind}_bytes", call("_codecs", "encode", text("a"), key))
    in_archive(f"{kind}_name", key + key + b"\x93")
    in_archive(f"{kind}_attribute", call(
        "torch._utils", "_rebuild_parameter_with_state", tensor(b")", b")"), b"\x89", b"N",
        b"}" + key + b"Ns"))
    in_archive(f"{kind}_state", call(
        "torch._utils", "_rebuild_parameter_with_state", tensor(b")", b")"), b"\x89", b"N", key))
    in_archive(f"{kind}_shape", tensor(key, key))
    in_archive(f"{kind}_offset", tensor(b")", b")", key))
    in_archive(f"{kind}_metadata", tensor(b")", b")", b"K\x00", key))
    in_archive(f"{kind}_value", b"]" + key + b"a")
    BOMBS[f"{kind}_version"] = lambda key=key: ("legacy", legacy(1)(START + key + STOP))
    BOMBS[f"{kind}_magic"] = lambda key=key: ("legacy", legacy(0)(START + key + STOP))
    BOMBS[f"{kind}_names"] = lambda key=key: ("legacy", legacy(4)(START + b"](" + key + b"e."))

in_archive("equal_hashes", b"}(" + b"".join(long((2**61 - 1) * n) + b"N" for n in range(30_000))
           + b"u")
in_archive("equal_hashes_one_by_one", b"}" + b"".join(
    long((2**61 - 1) * n) + b"Ns" for n in range(30_000)))
in_archive("equal_hashes_in_set", call("builtins", "set", b"](" + b"".join(
    long((2**61 - 1) * n) for n in range(30_000)) + b"e"))
in_archive("deep_lists", b"]" * 200_000 + b"a" * 199_999)
in_archive("deep_dicts", b"}" + b"K\x00}" * 100_000 + b"s" * 100_000)
in_archive("marks", b"(" * 300_000)
in_archive("empty_sets", b"(" + b"\x8f" * 50_000 + b"t")


# -- copies -----------------------------------------------------------------------------------

ELEMENTS = b"](" + b"".join(b"M" + struct.pack("<H", n) for n in range(50_000)) + b"e"
ITEMS = b"}(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(30_000)) + b"u"
ATTRIBUTES = b"}(" + b"".join(text(f"a{n}") + b"N" for n in range(30_000)) + b"u"

for kind, (module, attribute, argument) in {
    "bytearray": ("builtins", "bytearray", b"B" + struct.pack("<I", 500_000) + bytes(500_000)),
    "text": ("_codecs", "encode", text("a" * 500_000)),
    "set": ("builtins", "set", ELEMENTS), "counter": ("collections", "Counter", ELEMENTS),
    "ordered": ("collections", "OrderedDict", ITEMS),
    "ordered_pairs": ("collections", "OrderedDict", b"](" + b"K\x00K\x01\x86" * 50_000 + b"e"),
    "size": ("torch", "Size", ELEMENTS),
}.items():
    in_archive(f"copies_of_{kind}", argument + b"\x85q\x000" + name(module, attribute)
               + b"q\x010(" + b"h\x01h\x00R" * MANY + b"t")
in_archive("copies_of_state", ATTRIBUTES + b"q\x000" + name("collections", "OrderedDict")
           + b"q\x010(" + b"h\x01)Rh\x00b" * MANY + b"t")


# -- tensors -----------------------------------------------------------------------------------

for kind, expanded in {"huge": HUGE, "huge_flat": FLAT}.items():
    in_archive(f"{kind}", expanded)
    in_archive(f"{kind}_in_set", call("builtins", "set", expanded))
    in_archive(f"{kind}_pairs", call("collections", "OrderedDict", expanded))
    in_archive(f"{kind}_counted", call("collections", "Counter", expanded))
    in_archive(f"{kind}_size", call("torch", "Size", expanded))
    in_archive(f"{kind}_bytes", call("builtins", "bytearray", expanded))
    in_archive(f"{kind}_complex", call("builtins", "complex", expanded))
    in_archive(f"{kind}_device", call("torch", "device", expanded))
    in_archive(f"{kind}_shape", tensor(expanded, expanded))
    in_archive(f"{kind}_state", name("collections", "OrderedDict") + b")R" + expanded + b"b")
    in_archive(f"{kind}_arguments", name("torch", "Size") + expanded + b"R")
    in_archive(f"{kind}_new", name("collections", "OrderedDict") + expanded + b"\x81")
    in_archive(f"{kind}_flag", call("torch._utils", "_rebuild_parameter", tensor(b")", b")"),
                                    expanded, b"N"))
    in_archive(f"{kind}_id", expanded + b"Q")
    in_archive(f"{kind}_ids", b"(" + expanded * 5 + b"tQ")
    in_archive(f"{kind}_conjugated", tensor(
        numbers(2**40), numbers(0), b"K\x00", b"}" + text("conj") + b"\x88s"))
    in_archive(f"{kind}_negated", tensor(
        numbers(2**40), numbers(0), b"K\x00", b"}" + text("neg") + b"\x88s"))
    layout = call("torch.serialization", "_get_layout", text("torch.sparse_coo"))
    in_archive(f"{kind}_sparse", call(
        "torch._utils", "_rebuild_sparse_tensor", layout,
        b"(" + tensor(numbers(1, 2**40), numbers(0, 0)) + expanded + numbers(5) + b"t"))
    in_archive(f"{kind}_sparse_by_type", call(
        "torch._tensor", "_rebuild_from_type_v2", name("torch._utils", "_rebuild_sparse_tensor"),
        name("torch", "Tensor"), b"(" + layout + b"(" + tensor(numbers(1, 2**40), numbers(0, 0))
        + expanded + numbers(5) + b"tt", b"N"))
    rows = call("torch.serialization", "_get_layout", text("torch.sparse_csr"))
    in_archive(f"{kind}_rows", call(
        "torch._utils", "_rebuild_sparse_tensor", rows,
        b"(" + expanded * 3 + numbers(2**40 - 1, 5) + b"t"))
in_archive("many_dimensions", tensor(b"(" + b"K\x01" * MANY + b"t", b"(" + b"K\x01" * MANY + b"t"))
in_archive("long_numbers", tensor(numbers(*[2**2000] * 200), numbers(*[2**2000] * 200)))
in_archive("huge_sizes", tensor(numbers(2**62, 2**62), numbers(2**62, 2**62)))
in_archive("huge_and_empty", tensor(numbers(2**62, 2**62, 0), numbers(1, 1, 1)))
in_archive("huge_offset", tensor(numbers(1), numbers(1), long(2**62)))
in_archive("negative", tensor(numbers(-1), numbers(-1), long(-1)))
in_archive("huge_on_meta", call(
    "torch._utils", "_rebuild_meta_tensor_no_storage", name("torch", "float64"),
    numbers(2**62, 2**62), numbers(1, 2**62), b"\x89"))
in_archive("huge_long_on_meta", call(
    "torch._utils", "_rebuild_meta_tensor_no_storage", name("torch", "float64"),
    numbers(*[2**62] * 64), numbers(*[5] * 64), b"\x89"))
in_archive("huge_sparse_size", call(
    "torch._utils", "_rebuild_sparse_tensor", layout,
    b"(" + tensor(numbers(2, 0), numbers(1, 1)) + tensor(numbers(0), numbers(1))
    + numbers(2**62, 2**62) + b"t"))
in_archive("many_tensors", tensor(b")", b")")[:-1] + b"q\x000" + name(
    "torch._utils", "_rebuild_tensor_v2") + b"q\x010(" + b"h\x01h\x00R" * 20_000 + b"t")


# -- lengths that are not there ----------------------------------------------------------------

for kind, code in {"text": b"X", "bytes": b"B"}.items():
    in_archive(f"long_{kind}", code + struct.pack("<I", 2**32 - 1) + b"abc")
for kind, code in {
    "text": b"\x8d", "bytes": b"\x8e", "bytearray": b"\x96", "frame": b"\x95",
}.items():
    for size in (2**33, 2**62, 2**64 - 1):
        in_archive(f"very_long_{kind}_{size}", code + struct.pack("<Q", size) + b"abc")
in_archive("far_memo", b"Nr\xff\xff\xff\xff")
in_archive("long_name", b"c" + b"a" * 1_000_000 + b"\nb\n")


def storages(count: int, elements: int) -> bytes:
    """Mentions many storages of so many bytes."""
    return b"](" + b"".join(
        b"(" + text("storage") + name("torch", "ByteStorage") + text(str(n)) + text("cpu")
        + long(elements) + b"tQ" for n in range(count)) + b"e"


@bomb
def records_over_each_other() -> tuple[str, bytes]:
    """5,000 records that are one piece of 2 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writing:
        writing.writestr("a/data/0", bytes(2_000_000))
        writing.writestr("a/data.pkl", START + storages(5000, 2_000_000) + STOP)
        writing.writestr("a/version", "3\n")
        first = writing.getinfo("a/data/0")
        for n in range(1, 5000):
            info = zipfile.ZipInfo(f"a/data/{n}")
            info.header_offset, info.file_size = first.header_offset, first.file_size
            info.compress_size, info.CRC = first.file_size, first.CRC
            writing.filelist.append(info)
            writing.NameToInfo[info.filename] = info
    return "zip", file.getvalue()


@bomb
def announced_storages() -> tuple[str, bytes]:
    """The older format: each storage could be there, all of them can't."""
    return "legacy", legacy(3)(START + storages(5000, 1_000_000) + STOP) + bytes(1_000_000)


@bomb
def huge_storage() -> tuple[str, bytes]:
    return "legacy", legacy(3)(START + storages(1, 2**62) + STOP)


@bomb
def storage_without_memory() -> tuple[str, bytes]:
    return "legacy", legacy(3)(START + storages(1, 100) + STOP) + bytes(1000)


@bomb
def many_records() -> tuple[str, bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writing:
        writing.writestr("a/data.pkl", b"\x80\x02N.")
        writing.writestr("a/version", "3\n")
        for n in range(20_000):
            writing.writestr(str(n), b"")
    return "zip", file.getvalue()


@bomb
def huge_record() -> tuple[str, bytes]:
    """The directory says that the pickle has almost 4 GB."""
    content = bytearray(archive(b"\x80\x02N."))
    at = content.find(b"PK\1\2")
    content[at + 20 : at + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    return "zip", bytes(content)


@bomb
def compressed() -> tuple[str, bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as writing:
        writing.writestr("a/data.pkl", bytes(300 << 20))
        writing.writestr("a/version", "3\n")
    return "zip", file.getvalue()


# -- safetensors -------------------------------------------------------------------------------


def add_safetensors(name: str, header: bytes, length: int | None = None, data: bytes = b"") -> None:
    size = struct.pack("<Q", len(header) if length is None else length)
    BOMBS[f"safetensors_{name}"] = lambda: ("safetensors", size + header + data)


def entry(dtype: object = "F32", shape: object = (), offsets: object = (0, 4)) -> bytes:
    return json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


for length in (99_999_999, 2**40, 2**63, 2**64 - 1):
    add_safetensors(f"header_of_{length}", b"{}", length)
for depth in (900, 1000, 10_000, 1_000_000):
    add_safetensors(f"{depth}_deep_lists", b'{"x":' + b"[" * depth + b"]" * depth + b"}")
    add_safetensors(f"{depth}_deep_dicts", b'{"x":' * depth + b"1" + b"}" * depth)
    add_safetensors(f"{depth}_deep_dtype", b'{"x":{"shape":[],"data_offsets":[0,4],"dtype":'
                    + b"[" * depth + b"]" * depth + b"}}", data=bytes(4))
for kind, end in {"number": b"]", "float": b".]"}.items():
    add_safetensors(f"long_{kind}", entry("F32", [1]).replace(b"[1]", b"[" + b"9" * 10**6 + end))
add_safetensors("big_numbers", entry("F32", [2**62] * 60, [0, 2**62]))
add_safetensors("huge_and_empty", entry("F32", [2**62, 2**62, 0], [0, 0]))
add_safetensors("huge_with_zero", entry("F32", [0, 2**62], [0, 0]))
add_safetensors("many_dimensions", entry("F32", [1] * MANY, [0, 4]), data=bytes(4))
add_safetensors("most_dimensions", entry("F32", [1] * 64, [0, 4]), data=bytes(4))
add_safetensors("many_names", b"{" + b",".join(
    entry("F32", [0], [0, 0])[1:-1].replace(b"x", b"x%d" % n) for n in range(20_000)) + b"}")
add_safetensors("many_lists", b'{"x":[' + b"[]," * 200_000 + b"[]]}")
