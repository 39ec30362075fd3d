"""Which taper this is, and which PyTorch it answers for (what torch calls `torch.version`).

Programs ask `torch.__version__` what they may use, so `__version__` names the PyTorch release whose
behaviour taper follows, with taper's own version as the local part: `2.13.0+taper0.1.0`.
"""

import re
from typing import Any

TAPER_VERSION = "0.1.0"
TORCH_VERSION = "2.13.0"

__all__ = [
    "TAPER_VERSION",
    "TORCH_VERSION",
    "TorchVersion",
    "__version__",
    "cuda",
    "debug",
    "git_version",
    "hip",
    "rocm",
    "xpu",
]

# PEP 440 without epochs, which no release of PyTorch has had.
_PATTERN = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[.\-_]?(?P<pre>a|b|rc)[.\-_]?(?P<pre_number>\d*))?"
    r"(?:\.post(?P<post>\d+))?"
    r"(?:\.dev(?P<dev>\d+))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[.\-_][a-z0-9]+)*))?",
    re.IGNORECASE,
)


def _order(version: str) -> tuple[Any, ...] | None:
    """The sort key of a version in PEP 440's order, or None if the text isn't a version."""
    match = _PATTERN.fullmatch(version.strip())
    if match is None:
        return None
    release = tuple(int(part) for part in match["release"].split("."))
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    if match["pre"]:
        phase = ("a", "b", "rc").index(match["pre"].lower())
        pre = (phase, int(match["pre_number"] or 0))
    else:
        # A development release of the final one sorts before its first alpha.
        only_dev = match["dev"] is not None and match["post"] is None
        pre = (-1, 0) if only_dev else (3, 0)
    post = int(match["post"]) if match["post"] else -1
    dev = (0, int(match["dev"])) if match["dev"] else (1, 0)
    parts = re.split(r"[.\-_]", match["local"].lower()) if match["local"] else []
    local = tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)
    return release, pre, post, dev, local


class TorchVersion(str):
    """A version string that compares as a version: with strings and with tuples of numbers.

    >>> from taper.version import TorchVersion
    >>> TorchVersion("2.13.0") > "2.9", TorchVersion("2.13.0") >= (2, 13)
    (True, True)
    """

    __slots__ = ()

    def _keys(self, other: object) -> tuple[Any, Any] | None:
        if isinstance(other, (tuple, list)):
            text = ".".join(str(part) for part in other)
        elif isinstance(other, str):
            text = str.__str__(other)
        elif hasattr(other, "release"):  # packaging.version.Version
            text = str(other)
        else:
            return None
        mine, theirs = _order(self), _order(text)
        # Text that is no version is compared as text, as PyTorch does.
        return (str.__str__(self), text) if mine is None or theirs is None else (mine, theirs)

    def __eq__(self, other: object) -> bool:
        keys = self._keys(other)
        return NotImplemented if keys is None else keys[0] == keys[1]

    def __ne__(self, other: object) -> bool:
        keys = self._keys(other)
        return NotImplemented if keys is None else keys[0] != keys[1]

    def __lt__(self, other: object) -> bool:
        keys = self._keys(other)
        return NotImplemented if keys is None else keys[0] < keys[1]

    def __le__(self, other: object) -> bool:
        keys = self._keys(other)
        return NotImplemented if keys is None else keys[0] <= keys[1]

    def __gt__(self, other: object) -> bool:
        keys = self._keys(other)
        return NotImplemented if keys is None else keys[0] > keys[1]

    def __ge__(self, other: object) -> bool:
        keys = self._keys(other)
        return NotImplemented if keys is None else keys[0] >= keys[1]

    __hash__ = str.__hash__


__version__ = TorchVersion(f"{TORCH_VERSION}+taper{TAPER_VERSION}")

# What a CPU build of PyTorch says of itself.
cuda: str | None = None
hip: str | None = None
rocm: str | None = None
xpu: str | None = None
debug = False
git_version = "unknown"
