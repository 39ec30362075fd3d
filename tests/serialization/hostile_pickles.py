"""Files whose pickles run code when they are read by somebody who trusts them.

Each is one of `TARGETS` (what would be called), in one of `FORMS` (by which instructions), in a
protocol, in one of `CONTAINERS`. Whoever executes one leaves the file MARK in the current folder.
"""

from __future__ import annotations

import io
import itertools
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

MARK = "executed"
EXTENSION = 0x5A  # the number that copyreg knows os.system by, while a test says so

# (module, name, arguments)
TARGETS: list[tuple[str, str, tuple[str, ...]]] = [
    *((module, name, (f"touch {MARK}",)) for module, name in [
        ("os", "system"), ("posix", "system"), ("os", "popen"), ("subprocess", "getoutput"),
        ("subprocess", "getstatusoutput"), ("commands", "getoutput"), ("nt", "system"),
        ("asyncio", "create_subprocess_shell"), ("platform", "popen"), ("pty", "spawn"),
    ]),
    *((module, name, ("touch", MARK)) for module, name in [
        ("os", "execlp"), ("os", "spawnlp"), ("subprocess", "Popen"), ("subprocess", "run"),
        ("subprocess", "call"), ("subprocess", "check_call"), ("subprocess", "check_output"),
    ]),
    *((module, name, (f"open('{MARK}', 'w')",)) for module, name in [
        ("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("timeit", "timeit"),
        ("__builtin__", "execfile"), ("cProfile", "run"), ("profile", "run"), ("pdb", "run"),
        ("code", "interact"), ("bdb", "run"), ("doctest", "debug_script"), ("trace", "run"),
        ("numpy.testing", "runstring"), ("torch.jit", "script"), ("torch", "compile"),
        ("torch._dynamo", "optimize"), ("test.support.script_helper", "assert_python_ok"),
    ]),
    *((module, name, (MARK, "w")) for module, name in [
        ("builtins", "open"), ("io", "open"), ("_io", "open"), ("codecs", "open"), ("os", "mkfifo"),
        ("__builtin__", "file"), ("shelve", "open"), ("dbm", "open"), ("gzip", "open"),
        ("sqlite3", "connect"), ("tempfile", "mkdtemp"), ("logging", "FileHandler"),
        ("pathlib", "Path"), ("pathlib", "Path.touch"), ("os", "mkdir"), ("os", "makedirs"),
        ("numpy", "save"), ("numpy", "memmap"), ("torch", "save"), ("taper", "save"),
        ("taper.serialization.save", "save"), ("torch.serialization", "save"), ("shutil", "copy"),
        ("shutil", "move"), ("zipfile", "ZipFile"), ("torch.utils.tensorboard", "SummaryWriter"),
    ]),
    *((module, name, ("hostile",)) for module, name in [
        ("builtins", "__import__"), ("__builtin__", "__import__"), ("importlib", "import_module"),
        ("importlib", "__import__"), ("runpy", "run_module"), ("runpy", "run_path"),
        ("imp", "load_source"), ("pkgutil", "resolve_name"), ("pickle", "loads"),
        ("_pickle", "loads"), ("cPickle", "loads"), ("marshal", "loads"), ("dill", "loads"),
        ("torch", "load"), ("taper", "load"), ("torch.hub", "load"), ("joblib", "load"),
        ("yaml", "load"), ("ctypes", "CDLL"), ("webbrowser", "open"), ("socket", "socket"),
        ("urllib.request", "urlopen"), ("numpy", "load"), ("cffi", "FFI"),
    ]),
    *((module, name, ("a", "b")) for module, name in [
        ("builtins", "getattr"), ("builtins", "setattr"), ("builtins", "delattr"),
        ("builtins", "globals"), ("builtins", "vars"), ("builtins", "type"), ("builtins", "map"),
        ("builtins", "compile"), ("builtins", "breakpoint"), ("builtins", "input"),
        ("builtins", "object"), ("builtins", "print"), ("builtins", "memoryview"),
        ("builtins", "bytes"), ("builtins", "range"), ("builtins", "frozenset"),
        ("types", "FunctionType"), ("types", "CodeType"), ("functools", "partial"),
        ("functools", "reduce"), ("operator", "attrgetter"), ("operator", "methodcaller"),
        ("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"), ("copyreg", "__newobj__"),
        ("sys", "exit"), ("os", "_exit"), ("os", "kill"), ("signal", "raise_signal"),
        ("collections", "namedtuple"), ("collections", "defaultdict"), ("weakref", "finalize"),
        ("atexit", "register"), ("threading", "Thread"), ("multiprocessing", "Process"),
        ("_codecs", "lookup"), ("codecs", "lookup"), ("codecs", "decode"), ("inspect", "getattr"),
        ("torch", "serialization.os.system"), ("torch.serialization", "os.system"),
        ("torch", "_utils._rebuild_tensor_v2.__globals__"), ("torch", "from_file"),
        ("collections", "OrderedDict.__init__"), ("torch", "Tensor.__setstate__"),
        ("torch.nn", "Module"), ("torch.nn.modules.linear", "Linear"), ("taper", "Tensor"),
        ("taper.serialization.options", "options"), ("torch.storage", "_load_from_bytes"),
        ("taper.serialization.restricted", "restricted_load"), ("numpy", "ndarray"),
        ("torch._utils", "_import_dotted_name"), ("torch._C", "_jit_get_operation"),
        ("torch.distributed", "init_process_group"), ("torch.fx", "GraphModule"),
    ]),
]

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
LAST_OF_PYTHON_2 = 2


class Writer:
    """Writes the instructions of one protocol."""

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol

    def whole(self, body: bytes) -> bytes:
        """A pickle with these instructions."""
        body += b"."
        if self.protocol < 2:
            return body
        start = b"\x80" + bytes([self.protocol])
        if self.protocol >= 4:
            start += pickle.FRAME + struct.pack("<Q", len(body))
        return start + body

    def text(self, value: str) -> bytes:
        if self.protocol == 0:
            return pickle.UNICODE + value.encode("raw-unicode-escape") + b"\n"
        raw = value.encode()
        if self.protocol >= 4:
            return pickle.SHORT_BINUNICODE + bytes([len(raw)]) + raw
        return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw

    def tuple(self, *items: bytes) -> bytes:
        return b"(" + b"".join(items) + b"t"

    def texts(self, values: tuple[str, ...]) -> bytes:
        return self.tuple(*map(self.text, values))

    def name(self, module: str, name: str) -> bytes:
        """The object of that name, by the protocol's instruction for it."""
        if self.protocol >= 4:
            return self.text(module) + self.text(name) + pickle.STACK_GLOBAL
        return by_lines(module, name)

    def dict(self, key: str, value: bytes) -> bytes:
        return b"(d" + self.text(key) + value + b"s"

    def call(self, module: str, name: str, *arguments: bytes) -> bytes:
        return self.name(module, name) + self.tuple(*arguments) + b"R"


def by_lines(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


# -- forms: (writer, module, name, arguments) → instructions -----------------------------

Form = Callable[[Writer, str, str, "tuple[str, ...]"], bytes]


def reduce(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.name(module, name) + w.texts(arguments) + b"R"


def reduce_by_lines(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return by_lines(module, name) + w.texts(arguments) + b"R"


def only_named(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.name(module, name)


def by_instance(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return b"(" + b"".join(map(w.text, arguments)) + b"i" + f"{module}\n{name}\n".encode()


def by_object(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return b"(" + w.name(module, name) + b"".join(map(w.text, arguments)) + b"o"


def new_object(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.name(module, name) + w.texts(arguments) + pickle.NEWOBJ


def new_object_ex(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.name(module, name) + w.texts(arguments) + b"}" + pickle.NEWOBJ_EX


def remembered(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """Put into the memo, thrown away, and taken out again."""
    return w.name(module, name) + b"q\x07" + b"0" + b"h\x07" + w.texts(arguments) + b"R"


def remembered_in_text(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.name(module, name) + b"p7\n0" + b"g7\n" + w.texts(arguments) + b"R"


def doubled(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.name(module, name) + b"2" + w.texts(arguments) + b"R"


def build_state(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """An object whose state says how to set the state."""
    made = w.call("collections", "OrderedDict")
    return made + w.dict("__setstate__", w.name(module, name)) + b"b" + w.texts(arguments) + b"b"


def build_class(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    made = w.call("collections", "Counter")
    return made + w.dict("__class__", w.name(module, name)) + b"b"


def build_slots(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    made = w.call("collections", "OrderedDict")
    return made + w.tuple(b"N", w.dict("update", w.name(module, name))) + b"b"


def build_named(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """The state of a function, class or module itself."""
    return w.name(module, name) + w.dict("__call__", w.text("x")) + b"b"


def persistent(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return pickle.PERSID + f"{module}.{name}\n".encode()


def persistent_type(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """A storage whose class is the callable."""
    return w.tuple(w.text("storage"), w.name(module, name), w.text("0"), w.text("cpu"),
                   b"K\x01") + b"Q"


def persistent_module(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """What the older format has of modules: their class."""
    return w.tuple(w.text("module"), w.name(module, name), w.text("f"), w.text("s")) + b"Q"


def persistent_call(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return reduce(w, module, name, arguments) + b"Q"


def rebuilt(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """As the function that makes a tensor of a subclass."""
    return w.call("torch._tensor", "_rebuild_from_type_v2", w.name(module, name),
                  w.name("torch", "Tensor"), w.texts(arguments), b"N")


def subclass(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.call(
        "torch._tensor", "_rebuild_from_type_v2",
        w.name("torch._utils", "_rebuild_meta_tensor_no_storage"), w.name(module, name),
        w.tuple(w.name("torch", "float32"), b")", b")", pickle.NEWFALSE), b"N")


def hooked(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """As a hook that backward would call."""
    tensor = w.call("torch._utils", "_rebuild_meta_tensor_no_storage", w.name("torch", "float32"),
                    b")", b")", pickle.NEWFALSE)
    return w.call("torch._utils", "_rebuild_parameter", tensor, pickle.NEWTRUE,
                  w.dict("0", w.name(module, name)))


def in_a_list(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return b"(l" + reduce(w, module, name, arguments) + b"a"


def in_a_dict(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return w.dict("state", reduce(w, module, name, arguments))


def as_key(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return b"(d" + reduce(w, module, name, arguments) + b"Ns"


def in_a_set(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return pickle.EMPTY_SET + b"(" + reduce(w, module, name, arguments) + pickle.ADDITEMS


def thrown_away(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """Called, but not part of what is loaded."""
    return reduce(w, module, name, arguments) + b"0" + w.dict("weight", b"N")


def in_a_marked_part(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    return b"(" + reduce(w, module, name, arguments) + pickle.POP_MARK + b"N"


def extension(code: bytes, form: str) -> Form:
    def write(w: Writer, module: str, name: str, arguments: tuple[str, ...]) -> bytes:
        return code + struct.pack(form, EXTENSION) + w.texts((f"touch {MARK}",)) + b"R"

    write.__name__ = f"extension{form}"
    return write


FORMS: list[Form] = [
    reduce, reduce_by_lines, only_named, by_instance, by_object, new_object, new_object_ex,
    remembered, remembered_in_text, doubled, build_state, build_class, build_slots, build_named,
    persistent, persistent_type, persistent_module, persistent_call, rebuilt, subclass, hooked,
    in_a_list, in_a_dict, as_key, in_a_set, thrown_away, in_a_marked_part,
    extension(pickle.EXT1, "<B"), extension(pickle.EXT2, "<H"), extension(pickle.EXT4, "<i"),
]


# -- containers: pickle → file ---------------------------------------------------------------


def archive(pickled: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writing:
        writing.writestr("archive/data.pkl", pickled)
        writing.writestr("archive/data/0", bytes(8))
        writing.writestr("archive/byteorder", "little")
        writing.writestr("archive/version", "3\n")
    return file.getvalue()


def raw(pickled: bytes) -> bytes:
    return pickled


def legacy(place: int) -> Callable[[bytes], bytes]:
    """A file of before PyTorch 1.6 that has the pickle in the place of one of its own."""
    own: list[object] = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"weight": 1}, []]

    def write(pickled: bytes) -> bytes:
        parts = [pickle.dumps(part, 2) for part in own]
        parts[place] = pickled
        return b"".join(parts)

    write.__name__ = f"legacy part {place}"
    return write


CONTAINERS: list[Callable[[bytes], bytes]] = [
    archive, raw, *(legacy(place) for place in range(5)),
]


class HostileFile(NamedTuple):
    """A file, and what it would do."""

    name: str
    container: str
    protocol: int
    content: bytes


def hostile_files(count: int | None, seed: int = 0) -> Iterator[HostileFile]:
    """As many of all combinations, in random order; None: all of them."""
    combinations = list(itertools.product(TARGETS, FORMS, PROTOCOLS, CONTAINERS))
    random.Random(seed).shuffle(combinations)
    for target, form, protocol, container in combinations[:count]:
        writer = Writer(protocol)
        content = container(writer.whole(form(writer, *target)))
        name = f"{target[0]}.{target[1]} by {form.__name__}, protocol {protocol}"
        yield HostileFile(f"{name}, {container.__name__}", container.__name__, protocol, content)
