"""PyTorch's first place for `torch.library`; packages still import it."""

from taper.library import custom_op, get_ctx, impl, impl_abstract

__all__ = ["custom_op", "get_ctx", "impl", "impl_abstract"]
