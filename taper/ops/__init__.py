"""The verbs: every file of this folder that declares operators, one family a file.

Importing the package imports all of them, so a new family needs no list to be added to.
"""

from __future__ import annotations

import importlib
import os

for _file in sorted(os.listdir(os.path.dirname(__file__))):
    if _file.endswith(".py") and not _file.startswith("_"):
        importlib.import_module(f"taper.ops.{_file[:-3]}")
