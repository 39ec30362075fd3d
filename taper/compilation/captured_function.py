"""A compiled function: records calls, runs programs where they fit, and the function elsewhere."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taper.arrays.levels import running
from taper.autograd.engine import anomaly, observed
from taper.compilation.call_checks import EAGER, MISSED
from taper.compilation.exclusion import enter, exclusive, leave, new_lock
from taper.compilation.explanations import Explanation, Unsupported, log
from taper.compilation.programs import Program, choose_program, prepare
from taper.compilation.recorded import (
    Busy,
    CheckFailed,
    FactBroken,
    NotCaptured,
    NumberPinned,
    Recorded,
)
from taper.compilation.recording import record_call, take_state, user_line
from taper.compilation.size_pattern import SizePattern, is_argument, pattern_of
from taper.compilation.snapshot import Snapshot, take
from taper.compilation.symbolic_call import SymbolicCall
from taper.compilation.variant import EagerVariant, Variant
from taper.compilation.watches import GroupWatch
from taper.compiler.background import without_new_kernels
from taper.compiler.directives import forgetful, stance_now
from taper.core.dtype import get_default_dtype
from taper.core.state import active, is_inference, is_recording
from taper.core.symbolic import SizePinned
from taper.core.tensor import Tensor
from taper.nn import Module

__all__ = ["CapturedFunction"]

MOST_VARIANTS = 16
MOST_SEEN = 64
MOST_OF_A_KEY = 8  # variants for numbers that compare otherwise
MOST_EXPLAINED = 64
MOST_REFUSALS = 2
MOST_SYMBOLIC = 4
MOST_NEEDED = 64
FEW_USES = 4  # of a program that wasn't worth it
FIRST_CALLS = 3  # before anything is recorded: they need no kernels of their own
PAUSE = 1.0  # seconds until the next try, after other threads were in the way
MOST_CHANGES = 32  # calls in a row that find nothing that fits; then nobody looks any more


class CapturedFunction:
    """Carries out the calls of one function."""

    def __init__(
        self, function: Callable[..., Any], *, fullgraph: bool = False,
        dynamic: bool | None = None, as_it_is: str | None = None,
    ) -> None:
        self.function = function
        self.dynamic = dynamic
        self.fullgraph = fullgraph
        self.as_it_is = as_it_is  # why nothing is captured, if so
        self.explanation = Explanation(_name_of(function))
        self.lock = new_lock()
        self.calls_compiled = self.calls_eager = self.recordings = 0
        self.reset()
        forgetful.add(self)

    def reset(self) -> None:
        """Forgets what was captured."""
        self.variants: list[EagerVariant] = []  # the last used first
        self.seen: dict[Any, tuple[int, Snapshot]] = {}  # calls by key, before they are recorded
        self.refusal: str | None = self.as_it_is
        self.last: Snapshot | None = None
        self.changes = 0
        self.busy_until = 0.0
        self.keys = 0
        self.needed = 2  # how often a call of its kind is seen before it is recorded
        self.refusals = 0
        self.pinned: frozenset[str] = frozenset()  # numbers that programs don't take as inputs
        self.free: frozenset[str] = frozenset()  # floats that are passed, of which they do
        self.symbolic: list[SymbolicCall] = []  # calls recorded for any batch size
        self.closed: set[Any] = set()  # patterns of calls that depend on the value of their size

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if (
            (active.modes and not (active.modes == 1 and is_inference())) or running.vmaps
            or self.refusal is not None or stance_now.is_eager or is_unusual()
        ):
            return self.call_function(args, kwargs)
        found = self.attempt(args, kwargs)
        if found is MISSED and self.lock.acquire(False):  # else a call within the call
            try:
                found = self.consider(args, kwargs)
            finally:
                self.lock.release()
        if found is not MISSED and found is not EAGER:
            self.calls_compiled += 1
            self.changes = 0
            return found
        if self.refusal is None and not self.recordings and self.calls_eager < FIRST_CALLS:
            with without_new_kernels():
                return self.call_function(args, kwargs)
        return self.call_function(args, kwargs)

    def call_function(self, args: Any, kwargs: Any) -> Any:
        """Runs the call as it is."""
        enter()
        try:
            self.calls_eager += 1
            return self.function(*args, **kwargs)
        finally:
            leave()

    def attempt(self, args: Any, kwargs: Any) -> Any:
        """Tries the variants; the result of one, EAGER or MISSED."""
        for i, variant in enumerate(self.variants):
            attempt = variant.attempt
            if attempt is not None:
                found = attempt(args, kwargs)
                if found is not MISSED:
                    if i:
                        variant.returns += 1
                        self.variants.insert(0, self.variants.pop(i))
                    return found
        return MISSED

    def consider(self, args: Any, kwargs: Any) -> Any:
        """Looks at everything: finds a variant by value, or records one, and runs it.

        Returns the result, or EAGER if the call is to run as it is.
        """
        if not exclusive.acquire(blocking=False):  # tensors may hold no numbers now
            return EAGER
        try:
            snapshot = take(self.function, args, kwargs, self.last, self.pinned, self.free)
        finally:
            exclusive.release()
        try:
            return self.carry_out(snapshot, args, kwargs)
        finally:
            snapshot.release_arguments()

    def carry_out(self, snapshot: Snapshot, args: Any, kwargs: Any) -> Any:
        """`consider`, with the snapshot of the call."""
        if snapshot.refusal is not None:
            self.refusals += 1
            if self.refusals == MOST_REFUSALS:  # what is in the way may go, as lazy parameters do
                self.refuse(snapshot.refusal)
            return EAGER
        key = (context(), snapshot.key)
        for variant in self.variants:
            if variant.key == key and variant.rebind(snapshot):
                try:
                    result = self.run(variant, snapshot)
                except CheckFailed:
                    return EAGER
                except FactBroken:  # there may be another, for numbers that compare as these do
                    continue
                self.changes = 0
                self.variants.remove(variant)
                self.variants.insert(0, variant)
                return result
        count = self.seen.get(key, (0, None))[0] + 1
        if count >= self.needed or len(self.variants) < MOST_VARIANTS:
            found = self.run_symbolic(key, snapshot, args, kwargs)
            if found is not MISSED:
                return found
        varying = self.varying_numbers(snapshot)
        if varying:
            self.free |= varying
            return self.consider(args, kwargs)
        previous, self.last = self.last, snapshot
        self.keys += count == 1
        # Once is no pattern. But the first call may differ from all others: optimizers make their
        # state in it.
        if count < self.needed and self.keys != 2 and not self.is_awaited(key):
            self.seen[key] = count, snapshot
            if len(self.seen) > MOST_SEEN:
                del self.seen[next(iter(self.seen))]
            if count == 1 and not (previous is not None and differ_in_sizes(previous, snapshot)):
                self.changes += 1
            if self.changes > MOST_CHANGES:
                self.refuse(f"something is different at every call: {_what(previous, snapshot)}")
            return EAGER
        self.seen[key] = count, snapshot
        return self.record(key, snapshot, args, kwargs, count)

    def run(self, variant: EagerVariant, snapshot: Snapshot) -> Any:
        """Runs a program on the arguments that the snapshot has."""
        if not isinstance(variant, Variant):
            return EAGER
        variant.take_numbers()
        return variant.run([f.tensor for f in snapshot.arguments])

    def record(self, key: Any, snapshot: Snapshot, args: Any, kwargs: Any, count: int) -> Any:
        """Records the call as a new variant, and runs it."""
        if time.monotonic() < self.busy_until:
            return EAGER
        prepare()
        with without_collections(), without_new_kernels(math.inf):
            return self._record(key, snapshot, args, kwargs, count)

    def _record(self, key: Any, snapshot: Snapshot, args: Any, kwargs: Any, count: int) -> Any:
        variant: EagerVariant
        if sum([known.key == key for known in self.variants]) >= MOST_OF_A_KEY:
            self.refuse("numbers compare otherwise again and again")
            return EAGER
        call = self.record_symbolic(key, snapshot, args, kwargs)
        size = None if call is None else call.size_of(key)
        if call is not None and size is not None:
            found = self.run_at(call, size, key, snapshot, args, kwargs)
            if found is not MISSED:
                return found
        self.recordings += 1
        start = time.perf_counter()
        try:
            recorded = record_call(self.function, args, kwargs, snapshot, lock=self.lock)
        except Busy:
            self.busy_until = time.monotonic() + PAUSE
            return EAGER
        except NumberPinned as number:  # it depends on its value
            names = [number.name] if number.name is not None else [*snapshot.numbers] or [
                name for watch in snapshot.watches if isinstance(watch, GroupWatch)
                for name in watch.free]
            return self.consider_pinned(names, args, kwargs)
        except NotCaptured as reason:
            if reason.again and count < 4:
                return EAGER
            if snapshot.numbers:  # it may go by their values
                return self.consider_pinned([*snapshot.numbers], args, kwargs)
            self.explain(str(reason), reason.line)
            if reason.is_lasting and not any([isinstance(v, Variant) for v in self.variants]):
                self.refusal = str(reason)
                return EAGER
            variant = EagerVariant(key, snapshot, args, kwargs, self.lock)
        else:
            planned_from = time.perf_counter()
            variant = Variant(
                key, snapshot, args, kwargs, self.lock, recorded, programs_of(recorded))
            self.explain_program(variant, snapshot, recorded, (
                planned_from - start, time.perf_counter() - planned_from))
        return self.keep(variant, snapshot)

    def varying_numbers(self, snapshot: Snapshot) -> frozenset[str]:
        """The floats in which a call differs from one before, if in nothing else but sizes."""
        if not snapshot.has_floats:
            return frozenset()
        if snapshot.names.hides_floats:
            return frozenset()
        before = [variant.key[1] for variant in self.variants]
        if self.last is not None:
            before.append(self.last.key)
        for key in before:
            if len(key) == len(snapshot.key):
                pairs = [(x, y) for x, y in zip(key, snapshot.key, strict=True) if x != y]
                floats = [y[1] for x, y in pairs
                          if _is_float(x) and _is_float(y) and x[1] == y[1]]
                sizes = sum([is_argument(x) and is_argument(y) for x, y in pairs])
                if len(floats) + sizes == len(pairs):
                    return frozenset(floats) - self.pinned
        return frozenset()

    def is_awaited(self, key: Any) -> bool:
        """Whether sizes differ so often, or are said to, that another is recorded at once."""
        pattern = self.pattern_for(key)
        if pattern is None or self.dynamic:
            return pattern is not None
        return len(self.variants) < MOST_VARIANTS and any([
            other[0] == key[0] and other != key and pattern.size_of(other[1]) is not None
            for other in self.seen])

    def consider_pinned(self, names: list[str], args: Any, kwargs: Any) -> Any:
        """`consider`, with numbers that count by value from now on."""
        self.pinned |= {*names}
        self.free -= self.pinned
        self.variants.clear()
        return self.consider(args, kwargs)

    def pattern_for(self, key: Any) -> SizePattern | None:
        """In which sizes a call differs from a variant that there is, if in nothing else."""
        if self.dynamic is False:
            return None
        patterns = [pattern_of(known.key[1], key[1]) for known in self.variants
                    if isinstance(known, Variant) and known.key[0] == key[0]]
        pattern = next(filter(None, patterns), None)
        return None if pattern is None or pattern.key in self.closed else pattern

    def record_symbolic(
        self, key: Any, snapshot: Snapshot, args: Any, kwargs: Any
    ) -> SymbolicCall | None:
        """Records the call for any batch size, if another differs from it in that alone."""
        pattern = self.pattern_for(key)
        if pattern is None:
            return None
        size = pattern.size_of(key[1])
        assert size is not None
        start = time.perf_counter()
        try:
            recorded = record_call(
                self.function, args, kwargs, snapshot, pattern,
                pattern.hint_for(size, snapshot), self.lock)
        except SizePinned as reason:
            self.closed.add(pattern.key)
            log.info(f"{self.explanation.function} holds for one size at a time: {reason}"
                     f" (at {user_line(reason)})")
            return None
        except NumberPinned:  # to be found again
            return None
        except NotCaptured as reason:  # to be found again, and explained; or only so for any size
            if not reason.again:
                self.closed.add(pattern.key)
            return None
        self.recordings += 1
        for item in recorded.known:
            item.release()
        call = SymbolicCall(key[0], pattern, recorded)
        call.seconds = time.perf_counter() - start
        self.symbolic.insert(0, call)
        del self.symbolic[MOST_SYMBOLIC:]
        return call

    def run_symbolic(self, key: Any, snapshot: Snapshot, args: Any, kwargs: Any) -> Any:
        """Runs a call that was recorded for any batch size, if there is one; else MISSED."""
        for call in self.symbolic:
            size = call.size_of(key)
            if size is None:
                continue
            try:
                found = self.run_at(call, size, key, snapshot, args, kwargs)
            except FactBroken:  # it was recorded for numbers that compare otherwise
                del self.variants[0]
                continue
            if found is not MISSED:
                return found
        return MISSED

    def run_at(
        self, call: SymbolicCall, size: int, key: Any, snapshot: Snapshot, args: Any, kwargs: Any
    ) -> Any:
        """Makes a variant of a symbolic call for one size, and runs it; MISSED if it can't be."""
        start = time.perf_counter()
        with without_collections():
            recorded = call.recorded_at(size)
            if not take_state(recorded, snapshot):
                call.refuse(size)
                return MISSED
            variant = Variant(
                key, snapshot, args, kwargs, self.lock, recorded, call.programs_at(size))
        self.explain_program(
            variant, snapshot, recorded, (call.seconds, time.perf_counter() - start), call)
        call.seconds = 0.0
        return self.keep(variant, snapshot)

    def keep(self, variant: EagerVariant, snapshot: Snapshot) -> Any:
        """Keeps a new variant, and runs it."""
        self.seen.pop(variant.key, None)
        self.variants.insert(0, variant)
        if len(self.variants) > MOST_VARIANTS and self.variants.pop().returns < FEW_USES:
            # There are more kinds of calls than are kept: only what comes often is worth a program.
            self.needed = min(2 * self.needed, MOST_NEEDED)
        try:
            return self.run(variant, snapshot)
        except CheckFailed:
            return EAGER

    def explain_calls(self, html: bool | str | Path = False) -> Explanation | Path:
        """What happened to the calls so far; `print` it.

        Args:
            html: writes a page instead, and returns its path: the graphs, kernels and their times,
                what is watched, what ran as it is. True means compiled.html.
        """
        self.explanation.calls = {"compiled": self.calls_compiled, "eager": self.calls_eager}
        if not html:
            return self.explanation
        from taper.compilation.reports import write_page

        path = Path("compiled.html" if html is True else html)
        return write_page(self.explanation, self.variants, path)

    def explain_program(
        self, variant: Variant, snapshot: Snapshot, recorded: Recorded,
        seconds: tuple[float, float], call: SymbolicCall | None = None,
    ) -> None:
        """Notes what a new program is for.

        Args:
            seconds: of recording and of planning.      call: recorded for any size, if so.
        """
        nodes = f"{len(recorded.graph.nodes)}"
        if call is None:
            nodes += f", simplified to {len(variant.program.graph.nodes)}"
        self.explanation.programs.append({
            "arguments": [_type_text(f.tensor) for f in snapshot.arguments],
            "nodes": nodes,
            "reads": ", ".join(node.label for node in recorded.graph.inputs),
            "writes": ", ".join(recorded.graph.inputs[i].label
                                for i in recorded.updates.values()),
            "watches": len(snapshot.watches),
            "sizes": "these" if call is None else call.describe(),
            "graph": recorded.graph,
            "program": variant.program,
            "seconds": seconds,
        })
        del self.explanation.programs[:-MOST_EXPLAINED]

    def refuse(self, reason: str) -> None:
        """From now on, calls run as they are."""
        self.refusal = reason
        self.explain(reason, None)

    def explain(self, reason: str, line: str | None) -> None:
        """Notes why a call runs as it is; raises with `fullgraph`."""
        self.explanation.fallbacks.append((reason, line))
        del self.explanation.fallbacks[:-MOST_EXPLAINED]
        text = f"{self.explanation.function} runs as it is: {reason}"
        if line is not None:
            text += f"\n  at {line}"
        log.info(text)
        if self.fullgraph:
            raise Unsupported(text)


@contextmanager
def without_collections() -> Iterator[None]:
    """Within, nobody looks for garbage: much is made that stays, and each look goes through all
    objects that there are, which took as long as the work."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def programs_of(recorded: Recorded) -> list[Program]:
    """The programs of a call that was recorded for one size."""
    return [choose_program(recorded.graph, recorded.updates), *[
        choose_program(backward.graph, {}) for backward in recorded.backwards]]


def context() -> tuple[Any, ...]:
    """What a call depends on beside Python's state and its arguments."""
    return is_recording(), get_default_dtype(), is_inference()


def differ_in_sizes(a: Snapshot, b: Snapshot) -> bool:
    """Whether two calls differ only in the shapes and strides of tensors that are passed."""
    return len(a.key) == len(b.key) and a.key != b.key and all([
        x == y or (is_argument(x) and is_argument(y) and len(x[2]) == len(y[2])
                   and (x[1], x[3], *x[5:]) == (y[1], y[3], *y[5:]))
        for x, y in zip(a.key, b.key, strict=True)])


def is_unusual() -> bool:
    """Whether somebody watches what programs don't show."""
    return anomaly.enabled or observed.around is not None


def _is_float(token: Any) -> bool:
    return type(token) is tuple and len(token) == 3 and token[0] == "float"


def _name_of(function: Callable[..., Any]) -> str:
    """The function's name; of a call of a module, that of the module's class."""
    owner = getattr(function, "__self__", None)
    name: str = getattr(function, "__qualname__", repr(function))
    return type(owner).__name__ if isinstance(owner, Module) and "_call_" in name else name


def _type_text(t: Tensor) -> str:
    return f"{t._array.dtype}[{', '.join(map(str, t._array.shape))}]"


def _what(previous: Snapshot | None, snapshot: Snapshot) -> str:
    if previous is None:
        return "unknown"
    watch = previous.first_change()
    return "its arguments" if watch is None else watch.change()

