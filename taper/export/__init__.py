"""`taper.export`: programs with their weights, ahead of time, under PyTorch's names."""

from taper.export.capture import Dim
from taper.export.program import (
    ExportedProgram,
    ExportGraphSignature,
    export,
    load,
    save,
)

__all__ = ["Dim", "ExportGraphSignature", "ExportedProgram", "export", "load", "save"]
