"""`torch.utils.tensorboard`: event files for TensorBoard, written by the package tensorboardX.

It is an extra of taper: ``pip install taper[tensorboard]``. Without it, importing this module says
so. Event files are read by TensorBoard itself (``tensorboard --logdir runs``).
"""

from __future__ import annotations

from typing import Any

import taper
from taper import Tensor

try:
    import tensorboardX
except ImportError as error:
    raise ImportError(
        "torch.utils.tensorboard needs the package tensorboardX, which writes the files: "
        "pip install 'taper[tensorboard]'", name="tensorboardX",
    ) from error

__all__ = ["FileWriter", "SummaryWriter"]

FileWriter = tensorboardX.FileWriter


def plain(value: Any) -> Any:
    """Tensors as the arrays that tensorboardX takes, in lists and dicts, too."""
    if isinstance(value, Tensor):
        value = value.detach()
        if value.is_floating_point() and value.dtype not in _OF_NUMPY:
            value = value.float()
        return value.numpy()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)([plain(item) for item in value])
    return value


_OF_NUMPY = (taper.float16, taper.float32, taper.float64)


class SummaryWriter(tensorboardX.SummaryWriter):  # type: ignore[misc, unused-ignore]
    """Writes what a training run wants to show to a folder, one file for each writer.

    Args:
        log_dir: the folder; default ``runs/DATE_HOST``.
        comment: is added to the default folder's name.
        purge_step: events of this step and later, from before a crash, are hidden.
        max_queue: so many events wait before they are written.
        flush_secs: events wait so many seconds at most.
        filename_suffix: ends the names of the files.
    """

    __module__ = "torch.utils.tensorboard.writer"

    def __init__(
        self, log_dir: Any = None, comment: str = "", purge_step: int | None = None,
        max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = "",
    ) -> None:
        super().__init__(
            None if log_dir is None else str(log_dir), comment=comment, purge_step=purge_step,
            max_queue=max_queue, flush_secs=flush_secs, filename_suffix=filename_suffix,
        )

    @property
    def log_dir(self) -> str:
        """The folder of the files."""
        return str(self.logdir)

    def get_logdir(self) -> str:
        """Returns the folder of the files."""
        return self.log_dir

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None,
        walltime: float | None = None, new_style: bool = False, double_precision: bool = False,
    ) -> None:
        """Adds one number to a curve; `new_style` and `double_precision` change nothing."""
        super().add_scalar(tag, plain(scalar_value), global_step, walltime)

    def add_tensor(
        self, tag: str, tensor: Tensor, global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Raises: tensorboardX has no summaries of whole tensors."""
        raise NotImplementedError(
            "SummaryWriter.add_tensor(): tensorboardX doesn't write tensors; add_histogram() shows "
            "their values"
        )

    def add_hparams(
        self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None, run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Adds hyperparameters and what came of them."""
        super().add_hparams(
            plain(hparam_dict), plain(metric_dict), name=run_name, global_step=global_step
        )

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        """Raises: the picture that TensorBoard draws is one of TorchScript."""
        raise NotImplementedError(
            "SummaryWriter.add_graph(): TensorBoard's picture of a model is made of TorchScript, "
            "which taper doesn't have; taper.graph(result) draws a tensor's history"
        )


def _with_arrays(name: str) -> None:
    """Gives SummaryWriter the parent's method, with tensors among the arguments."""
    inherited = getattr(tensorboardX.SummaryWriter, name)

    def method(self: SummaryWriter, *args: Any, **kwargs: Any) -> None:
        inherited(self, *plain(args), **plain(kwargs))

    method.__name__ = name
    method.__qualname__ = f"SummaryWriter.{name}"
    method.__doc__ = f"As tensorboardX's {name}, which see; arguments may be tensors."
    setattr(SummaryWriter, name, method)


for _name in (
    "add_audio", "add_embedding", "add_histogram", "add_histogram_raw", "add_image",
    "add_image_with_boxes", "add_images", "add_mesh", "add_pr_curve", "add_pr_curve_raw",
    "add_scalars", "add_video",
):
    _with_arrays(_name)
