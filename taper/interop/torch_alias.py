"""Makes `import torch` mean taper: the same modules under both names.

`as_torch()` puts a finder in front of Python's own. From then on `torch` and every `torch.x.y` are
the module objects `taper` and `taper.x.y`; nothing is copied, so `torch.nn is taper.nn`. Libraries
that look before they import see what they expect: a spec (`importlib.util.find_spec("torch")`), a
version (`importlib.metadata.version("torch")`), names that begin with torch, and pickles that name
`torch…` find taper's classes. Processes started by `multiprocessing` see the same.

It is never automatic: `taper run` and `taper.as_torch()` ask for it. To run a program file, see
`taper.cli.run_program`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["MODULE_NAMES", "as_torch", "taper_name"]

MODULE_NAMES: dict[str, str] = {
    # What torch calls otherwise, or keeps elsewhere. Whatever lies below moves along.
    "torch.torch_version": "taper.version",
    "torch.autograd.gradcheck": "taper.autograd.gradient_check",
    "torch.cuda.memory": "taper.cuda",
    "torch.cuda.random": "taper.cuda",
    "torch.cuda.streams": "taper.cuda",
    "torch.autograd.profiler_util": "taper.profiler.events",
    "torch.fx._symbolic_trace": "taper.fx.tracer",
    "torch.utils.data._utils.collate": "taper.utils.data.collate",
    "torch.utils.data._utils.fetch": "taper.utils.data.fetch",
    "torch.utils.data._utils.worker": "taper.utils.data.worker",
    "torch.utils.tensorboard.writer": "taper.utils.tensorboard",
}


def taper_name(torch_name: str, package: str = "taper") -> str:
    """The module of taper that stands for a module of torch.

    >>> from taper.interop.torch_alias import taper_name
    >>> taper_name("torch.nn.functional")
    'taper.nn.functional'
    """
    known, rest = torch_name, ""
    while known not in MODULE_NAMES and "." in known:
        known, _, last = known.rpartition(".")
        rest = f".{last}{rest}"
    name = MODULE_NAMES.get(known, "taper") + rest
    return package + name.removeprefix("taper")


def as_torch(package: ModuleType | None = None) -> ModuleType:
    """Makes `import torch` mean taper in this process, and returns taper.

    In a notebook, call it in the first cell, before anything imports torch. Calling it again
    changes nothing.

    Args:
        package: the package that stands for torch; default: taper.

    Raises:
        ImportError: if the real torch has already been imported, for then other modules hold it.
    """
    if package is None:
        package = importlib.import_module("taper")
    present = sys.modules.get("torch")
    if present is package:
        return package
    if present is not None:
        raise ImportError(
            f"{package.__name__} can't stand for torch: the real torch {_version_of(present)} has "
            "already been imported in this process, and modules that use it would mix the two. "
            "Restart Python and call as_torch() first, or start the program with `taper run`.",
            name="torch",
        )
    sys.modules.pop("torch", None)  # None there blocks the import; as_torch() is the wish for it
    sys.meta_path.insert(0, TorchFinder(package.__name__))
    if spawn := sys.modules.get("multiprocessing.spawn"):
        _hand_on_to_children(spawn, package.__name__)
    return importlib.import_module("torch")


def _version_of(module: ModuleType) -> str:
    version = getattr(module, "__version__", "of unknown version")
    return f"{version} ({getattr(module, '__file__', 'no file')})"


class TorchFinder(MetaPathFinder):
    """Finds `torch` and what is below it in another package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "multiprocessing.spawn":
            return self._find_spawn(path)
        if fullname.partition(".")[0] != "torch":
            return None
        name = taper_name(fullname, self.package)
        found = _find(name)
        if found is None:
            # Frames: this, importlib's _find_spec, and who asked. importlib.util.find_spec wants
            # None for what isn't there; an import ends in an error either way: ours says more.
            if sys._getframe(2).f_code.co_name == "_find_and_load_unlocked":
                raise ModuleNotFoundError(
                    f"No module named {fullname!r}: torch is {self.package} here, which has no "
                    f"{name!r}. `taper info` says what this installation has.",
                    name=fullname,
                )
            return None
        spec = ModuleSpec(fullname, AliasLoader(name), origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def _find_spawn(self, path: Sequence[str] | None) -> ModuleSpec | None:
        """The real multiprocessing.spawn, which then passes the alias on."""
        spec = PathFinder.find_spec("multiprocessing.spawn", path)
        if spec is not None and spec.loader is not None:
            execute: Callable[[ModuleType], None] = spec.loader.exec_module

            def execute_and_extend(module: ModuleType) -> None:
                execute(module)
                _hand_on_to_children(module, self.package)

            spec.loader.exec_module = execute_and_extend  # type: ignore[method-assign]
        return spec

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        """The answer to `importlib.metadata.version("torch")`."""
        if context is None or context.name is None or context.name.lower() == "torch":
            yield _distribution(self.package)


def _find(name: str) -> ModuleSpec | None:
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__spec__ is None:  # made by hand, without a file
        return ModuleSpec(name, None)
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # A parent that isn't there or is no package; anything else that's missing is news.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise


class AliasLoader(Loader):
    """Loads a module under a second name: the module itself, not a copy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        alias = module.__spec__
        # importlib has just given the module the alias's spec. Relative imports inside the package
        # need the true one.
        module.__spec__ = self.own_spec
        # Libraries ask `xp.__name__ == "torch"`, and `from torch.x import y` names x in its error.
        if alias is not None and alias.name.partition(".")[2] == self.name.partition(".")[2]:
            module.__name__ = alias.name

    def get_code(self, fullname: str) -> Any:
        """The code of the module, for `python -m torch.x` and its kin."""
        spec = importlib.util.find_spec(self.name)
        return spec.loader.get_code(self.name)  # type: ignore[union-attr]


def _distribution(package: str) -> Any:
    from importlib.metadata import Distribution
    from pathlib import Path

    module = sys.modules[package]

    class TorchDistribution(Distribution):
        """What pip would have written about torch, had it installed taper under that name."""

        def read_text(self, filename: str) -> str | None:
            version = getattr(module, "__version__", "0")
            return {
                "METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
                f"Summary: {package} standing for torch\n",
                "top_level.txt": "torch\n",
            }.get(filename)

        def locate_file(self, path: str | os.PathLike[str]) -> Path:
            return Path(next(iter(module.__path__))).parent / path

    return TorchDistribution()


class _Arrival:
    """Among the data for a new process: installs the alias there when it is unpickled."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __reduce__(self) -> tuple[Any, ...]:
        # The path first: the child doesn't have the parent's yet, and may not find taper without.
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; import importlib; "
            f"from {__name__} import as_torch; "
            f"as_torch(importlib.import_module({self.package!r}))"
        )
        return exec, (program, {})


def _hand_on_to_children(spawn: ModuleType, package: str) -> None:
    """Lets processes that start anew, rather than as a fork, begin with the alias."""
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        data["torch_alias"] = _Arrival(package)
        if name == "ignore":
            # The fork server asks, and would import the main module without the alias. Its
            # children get the alias, and import it then.
            data.pop("main_path", None)
        return data

    spawn.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]
