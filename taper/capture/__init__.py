"""Recording whole steps: forward, backward and optimizer, as one graph of array operations."""

from taper.capture.record import record

__all__ = ["record"]
