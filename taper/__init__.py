"""taper: PyTorch's programming model in Python that can be read down to the loop that runs.

    import taper as torch

Nothing is computed or imported here: names are found on first use, operators in the table of
`taper.ops`, everything else through the short lists below.
"""

from __future__ import annotations

import importlib
from typing import Any

from taper.version import __version__ as __version__

_MODULES = frozenset("""
    _C __config__ _custom_ops _dynamo _subclasses _tensor _utils accelerator amp ao autograd
    backends classes compiler cpu cuda distributed distributions export fft func functional fx
    futures hub jit library linalg masked mps multiprocessing nn onnx ops optim overrides
    profiler quasirandom random return_types
    serialization signal sparse special storage testing types utils version xpu
    """.split())

# Where names that are not operators live. A module may list many: "module": "name name …".
_HOMES = {
    "taper.core.tensor": "Tensor",
    "taper.core.size": "Size",
    "taper.core.device": """device layout memory_format strided sparse_coo sparse_csr sparse_csc
        sparse_bsr sparse_bsc jagged contiguous_format preserve_format channels_last
        channels_last_3d get_default_device set_default_device""",
    "taper.core.dtype": "dtype get_default_dtype set_default_dtype",
    "taper.core.generator": "Generator default_generator",
    "taper.core.printing": "set_printoptions",
    "taper.ops.legacy": """BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor
        HalfTensor IntTensor LongTensor ShortTensor set_default_tensor_type""",
    "taper.random": """get_rng_state initial_seed manual_seed seed set_rng_state
        thread_safe_generator""",
    "taper.amp.autocast_mode": "autocast",
    "taper.amp.grad_scaler": "GradScaler",
    "taper.amp.state": """autocast_decrement_nesting autocast_increment_nesting
        clear_autocast_cache get_autocast_cpu_dtype get_autocast_dtype get_autocast_gpu_dtype
        is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_enabled
        set_autocast_cache_enabled set_autocast_cpu_dtype set_autocast_cpu_enabled
        set_autocast_dtype set_autocast_enabled set_autocast_gpu_dtype""",
    "taper.core.storage": "UntypedStorage",
    "taper.core.typed_storage": """BFloat16Storage BoolStorage ByteStorage CharStorage
        ComplexDoubleStorage ComplexFloatStorage DoubleStorage FloatStorage HalfStorage IntStorage
        LongStorage ShortStorage TypedStorage""",
    "taper.utils.dlpack": "to_dlpack",
    "taper.core.numeric_limits": "finfo iinfo",
    "taper.core.settings": "settings",
    "taper.core.threads": """are_deterministic_algorithms_enabled get_deterministic_debug_mode
        get_float32_matmul_precision get_num_interop_threads get_num_threads
        is_deterministic_algorithms_warn_only_enabled is_warn_always_enabled
        set_deterministic_debug_mode set_float32_matmul_precision set_flush_denormal
        set_num_interop_threads set_num_threads set_warn_always use_deterministic_algorithms""",
    "taper.autograd.anomaly_mode": """is_anomaly_check_nan_enabled is_anomaly_enabled
        set_anomaly_enabled""",
    "taper.core.overrides": "DisableTorchFunction DisableTorchFunctionSubclass",
    "taper.autograd.modes": """enable_grad inference_mode is_grad_enabled
        is_inference_mode_enabled no_grad set_grad_enabled""",
    "taper.serialization": "save load",
    "taper.func.vectorization": "vmap",
    "taper.interop.torch_alias": "as_torch",
    "taper.futures": "Future",
    "taper.checks": """_assert _assert_async _check _check_index _check_is_size
        _check_not_implemented _check_tensor_all _check_tensor_all_with _check_type _check_value
        _check_with""",
    "taper.symbolic_numbers": """SymBool SymFloat SymInt sym_float sym_int sym_ite sym_max sym_min
        sym_not sym_sqrt sym_sum""",
    "taper.private_functions": """_convert_indices_from_coo_to_csr
        _convert_indices_from_csr_to_coo _log_softmax_backward_data _softmax_backward_data
        Event OutOfMemoryError PyTorchFileReader Stream _shape_as_tensor
        get_device_module""",
    "taper.jit": "ScriptModule",
    "taper.compilation": "compile",
    "taper.viewer": "graph",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"taper.{name}")
    import taper.namespace

    value = taper.namespace.find_public(name, _HOME_OF)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    import taper.namespace

    return sorted({*_MODULES, *_HOME_OF, *taper.namespace.public_names(), "__version__"})
