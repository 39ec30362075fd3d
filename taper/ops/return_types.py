"""Named results of operators with several outputs: ``torch.return_types.max`` and the like."""

from __future__ import annotations

from typing import Any

__all__ = ["named"]

_MADE: dict[tuple[str, tuple[str, ...]], type] = {}


def named(name: str, fields: tuple[str, ...]) -> type:
    """The tuple class with these fields that operators called `name` return."""
    key = (name, fields)
    found = _MADE.get(key)
    if found is None:
        members: dict[str, Any] = {
            "__slots__": (), "__module__": "torch.return_types", "_fields": fields,
            "n_fields": len(fields), "n_sequence_fields": len(fields), "n_unnamed_fields": 0,
            "__repr__": _repr, "__reduce__": _reduce,
        }
        for position, field in enumerate(fields):
            members[field] = property(lambda self, i=position: tuple.__getitem__(self, i))
        found = _MADE[key] = type(name, (tuple,), members)
    return found


def _repr(self: Any) -> str:
    fields = ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
    return f"torch.return_types.{type(self).__name__}(\n{fields})"


def _reduce(self: Any) -> Any:
    return (_rebuild, (type(self).__name__, self._fields, tuple(self)))


def _rebuild(name: str, fields: tuple[str, ...], values: Any) -> Any:
    return named(name, fields)(values)
