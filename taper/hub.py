"""`torch.hub` for folders on this machine: what their hubconf.py offers.

A hubconf.py is a module whose public functions make models; it may name the packages it needs in a
list called `dependencies`. Nothing is downloaded, ever.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlparse

import taper

__all__ = [
    "download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url",
    "set_dir",
]

ENV_TORCH_HOME = "TORCH_HOME"
DEFAULT_CACHE_DIR = "~/.cache"
#: The beginning of a file's hash, which its name may end with.
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
_FILE = "hubconf.py"
_chosen: dict[str, str] = {}


def get_dir() -> str:
    """Returns the folder of models that were downloaded by PyTorch, or were put there by hand."""
    if "dir" in _chosen:
        return _chosen["dir"]
    return os.path.join(_get_torch_home(), "hub")


def _get_torch_home() -> str:
    """The folder of everything downloaded; packages such as torchvision ask for it."""
    cache = os.getenv("XDG_CACHE_HOME", DEFAULT_CACHE_DIR)
    return os.path.expanduser(os.getenv(ENV_TORCH_HOME, os.path.join(cache, "torch")))


def set_dir(d: str | os.PathLike[str]) -> None:
    """Sets the folder that `get_dir` returns."""
    _chosen["dir"] = os.path.expanduser(d)


def list(
    github: str, force_reload: bool = False, skip_validation: bool = False,
    trust_repo: Any = None, verbose: bool = True,
) -> builtins.list[str]:
    """Returns the names that a folder's hubconf.py offers.

    Args:     github: the folder
    """
    module = _hubconf(_folder(github))
    return [name for name in dir(module)
            if callable(getattr(module, name)) and not name.startswith("_")]


def help(
    github: str, model: str, force_reload: bool = False, skip_validation: bool = False,
    trust_repo: Any = None,
) -> str | None:
    """Returns the docstring of one of the functions of a folder's hubconf.py.

    Args:     github: the folder
    """
    return _entry_point(_hubconf(_folder(github)), model).__doc__


def load(
    repo_or_dir: str | os.PathLike[str], model: str, *args: Any, source: str = "github",
    trust_repo: Any = None, force_reload: bool = False, verbose: bool = True,
    skip_validation: bool = False, **kwargs: Any,
) -> Any:
    """Returns what a function of a folder's hubconf.py returns: most often a model.

    Args:
        repo_or_dir: the folder.
        model: the name of the function.
        source: ``"local"``.
        *args, **kwargs: for the function.

    Raises:
        NotImplementedError: for ``source="github"``.
        RuntimeError: if hubconf.py has no such function, or what it depends on is missing.
    """
    if source.lower() not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source.lower() == "github":
        _refuse_download(f"hub.load({os.fspath(repo_or_dir)!r})")
    return _entry_point(_hubconf(os.fspath(repo_or_dir)), model)(*args, **kwargs)


def load_state_dict_from_url(
    url: str, model_dir: str | os.PathLike[str] | None = None, map_location: Any = None,
    progress: bool = True, check_hash: bool = False, file_name: str | None = None,
    weights_only: bool = False,
) -> dict[str, Any]:
    """Loads a file that lies where PyTorch would have put its download.

    Raises:   NotImplementedError: if it doesn't
    """
    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    path = os.path.join(folder, file_name or os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        _refuse_download(f"hub.load_state_dict_from_url({url!r})", f", as {path}")
    loaded: dict[str, Any] = taper.load(path, map_location, weights_only=weights_only)
    return loaded


def download_url_to_file(
    url: str, dst: str, hash_prefix: str | None = None, progress: bool = True
) -> NoReturn:
    """Raises: nothing is downloaded."""
    _refuse_download(f"hub.download_url_to_file({url!r})")


def _refuse_download(call: str, where: str = "") -> NoReturn:
    raise NotImplementedError(
        f"{call}: taper downloads nothing. Download it yourself{where}, and use "
        'hub.load(folder, model, source="local") or torch.load(file)'
    )


def _folder(given: str) -> str:
    if not os.path.isdir(given):
        _refuse_download(f"{given!r} is no folder")
    return given


def _hubconf(folder: str) -> ModuleType:
    """The module hubconf.py of a folder, from where it may import its neighbours."""
    path = os.path.join(folder, _FILE)
    spec = importlib.util.spec_from_file_location("hubconf", path)
    if spec is None or spec.loader is None or not os.path.exists(path):
        raise FileNotFoundError(f"there is no {_FILE} in {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    missing = [name for name in getattr(module, "dependencies", [])
               if name != "torch" and importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
    return module


def _entry_point(module: ModuleType, name: str) -> Callable[..., Any]:
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    found = getattr(module, name, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found


class _NoBar:
    """Stands for tqdm's bar where tqdm isn't installed: it is passed through in silence."""

    def __init__(self, iterable: Iterable[Any] = (), *_: Any, **__: Any) -> None:
        self._iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self._iterable)

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """Would move the bar."""

    def close(self) -> None:
        """Would leave the bar as it is."""


def __getattr__(name: str) -> Any:
    if name != "tqdm":
        raise AttributeError(f"module 'torch.hub' has no attribute {name!r}")
    try:
        return importlib.import_module("tqdm").tqdm
    except ImportError:
        return _NoBar
