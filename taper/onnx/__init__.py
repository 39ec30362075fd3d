"""`taper.onnx`: models as ONNX files, under PyTorch's names. Needs the package onnx (extra `onnx`).

A model is recorded as for `taper.export`, and each call of the graph is written in ONNX's
operators (elementwise.py, rearrangements.py, networks.py). A call that has no translation raises
NotImplementedError with the operation's name.
"""

from taper.onnx.program import ONNXProgram, export, is_in_onnx_export
from taper.onnx.symbolic_helper import register_custom_op_symbolic, unregister_custom_op_symbolic

__all__ = [
    "ONNXProgram", "export", "is_in_onnx_export", "register_custom_op_symbolic",
    "unregister_custom_op_symbolic",
]
