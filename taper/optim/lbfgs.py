"""L-BFGS: a quasi-Newton method that remembers its last steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper
from taper import Tensor
from taper.optim.optimizer import Optimizer, ParamsT, check_lr
from taper.optim.vector_arithmetic import add_scaled_, arithmetic_for, dot

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, 1989). `step` needs a closure that recomputes loss and gradients.

    All parameters are one vector here, in one parameter group.

    Args:
        params: the parameters.
        lr: the learning rate, or the first step of the line search.
        max_iter: iterations per `step`. max_eval: evaluations per `step`; default 1.25 max_iter.
        tolerance_grad: stops where no gradient is larger.
        tolerance_change: stops where neither the loss nor a parameter changes more.
        history_size: how many steps are remembered.
        line_search_fn: "strong_wolfe" or None.
    """

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1, max_iter: int = 20,
        max_eval: int | None = None, tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9,
        history_size: int = 100, line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Runs up to `max_iter` iterations; returns the loss before the first."""
        with taper.no_grad():
            return self._minimize(closure)

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr = group["lr"]
        if isinstance(lr, Tensor):
            lr = lr.squeeze()
        tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
        state = self.state[self._params[0]]  # one state for all, kept with the first parameter
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = self._evaluate(closure)
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        grad = self._flat_gradient()
        if _largest(grad) <= tolerance_grad:
            return first_loss

        direction, step_length = state.get("d"), state.get("t")
        prev_grad, prev_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        weights = None
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction = -grad
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
                step_length = min(1.0, 1.0 / grad.abs().sum()) * lr
            else:
                self._remember(grad - prev_grad, direction * step_length, group["history_size"])
                direction, weights = self._quasi_newton_direction(grad)
                step_length = lr
            prev_grad, prev_loss = grad.clone(), loss
            slope = dot(grad, direction)
            if slope > -tolerance_change:
                break
            is_last = iteration == group["max_iter"]
            if group["line_search_fn"] is None:
                self._move(step_length, direction)
                evaluated = 0
                if not is_last:  # nobody would look at the last gradient
                    loss, grad, evaluated = float(self._evaluate(closure)), self._flat_gradient(), 1
            elif group["line_search_fn"] == "strong_wolfe":
                line = self._line_from_here(closure, direction)
                search = LineSearch(line, direction, loss, slope)
                loss, grad, step_length, evaluated = search.run(step_length, grad)
                self._move(step_length, direction)
            else:
                raise RuntimeError("only 'strong_wolfe' is supported")
            evaluations += evaluated
            state["func_evals"] += evaluated
            if (
                is_last
                or evaluations >= group["max_eval"]
                or (evaluated and _largest(grad) <= tolerance_grad)
                or _largest(direction * step_length) <= tolerance_change
                or abs(loss - prev_loss) < tolerance_change
            ):
                break
        if weights is not None:
            kept = state.setdefault("al", [None] * group["history_size"])
            kept[: len(weights)] = map(arithmetic_for(grad).as_number, weights)
        state.update(
            d=direction, t=step_length, prev_flat_grad=prev_grad, prev_loss=prev_loss
        )
        return first_loss

    def _line_from_here(
        self, closure: Callable[[], Any], direction: Tensor
    ) -> Callable[[Any], tuple[float, Tensor]]:
        """A function from a length to the loss and gradient that far along the direction."""
        start = [param.clone() for param in self._params]

        def evaluate(length: Any) -> tuple[float, Tensor]:
            self._move(length, direction)
            value = float(self._evaluate(closure))
            for param, value_at_start in zip(self._params, start, strict=True):
                param.copy_(value_at_start)
            return value, self._flat_gradient()

        return evaluate

    def _remember(self, grad_change: Tensor, step: Tensor, history_size: int) -> None:
        """Adds a pair (y, s) to the history, if the curvature along it is positive."""
        state = self.state[self._params[0]]
        curvature = dot(grad_change, step)
        if curvature > 1e-10:
            if len(state["old_dirs"]) == history_size:
                for name in ("old_dirs", "old_stps", "ro"):
                    state[name].pop(0)
            state["old_dirs"].append(grad_change)
            state["old_stps"].append(step)
            state["ro"].append(1.0 / curvature)
            state["H_diag"] = curvature / dot(grad_change, grad_change)

    def _quasi_newton_direction(self, grad: Tensor) -> tuple[Tensor, list[Any]]:
        """-H·grad by the two-loop recursion (Nocedal, 1980), and the weights of its first loop."""
        state = self.state[self._params[0]]
        arithmetic = arithmetic_for(grad)
        changes = arithmetic.vectors(state["old_dirs"])
        steps = arithmetic.vectors(state["old_stps"])
        inverse = [arithmetic.number(number) for number in state["ro"]]
        weights: list[Any] = [None] * len(changes)
        vector = arithmetic.vector(-grad)
        for i in reversed(range(len(changes))):
            weights[i] = arithmetic.dot(steps[i], vector) * inverse[i]
            vector = arithmetic.add_scaled(vector, changes[i], -weights[i])
        vector = arithmetic.times(vector, arithmetic.number(state["H_diag"]))
        for i in range(len(changes)):
            missing = weights[i] - arithmetic.dot(changes[i], vector) * inverse[i]
            vector = arithmetic.add_scaled(vector, steps[i], missing)
        return arithmetic.as_tensor(vector), weights

    def _flat_gradient(self) -> Tensor:
        pieces = []
        for param in self._params:
            grad = param.grad
            if grad is None:
                piece = taper.zeros_like(param)
            else:
                piece = grad.to_dense() if grad.is_sparse else grad
            pieces.append((taper.view_as_real(piece) if piece.is_complex() else piece).reshape(-1))
        return taper.cat(pieces, 0)

    def _move(self, length: Any, direction: Tensor) -> None:
        """Adds ``length · direction`` to the parameters."""
        start = 0
        for param in self._params:
            values = taper.view_as_real(param) if param.is_complex() else param
            end = start + values.numel()
            step = direction[start:end].view_as(values)
            add_scaled_(values, step, _as_number(length))
            start = end


def _as_number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _largest(vector: Tensor) -> Tensor:
    return vector.abs().max()


Point = tuple[Any, float, Tensor, Tensor]  # of a line: (length, loss, gradient, slope)


class LineSearch:
    """Looks for a length with enough decrease (C1) and a flat enough slope (C2): strong Wolfe.

    Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6, with cubic interpolation.

    Args:
        evaluate: gives loss and gradient at a length. direction: of the line.
        loss, slope: at its start.
    """

    C1, C2 = 1e-4, 0.9
    TOLERANCE = 1e-9
    MAX_STEPS = 25

    def __init__(
        self, evaluate: Callable[[Any], tuple[float, Tensor]], direction: Tensor, loss: float,
        slope: Tensor,
    ) -> None:
        self._evaluate = evaluate
        self._direction = direction
        self._loss = loss
        self._slope = slope
        self._evaluations = 0

    def run(self, length: Any, grad: Tensor) -> tuple[float, Tensor, Any, int]:
        """Returns (loss, gradient, length, number of evaluations), from a first length on."""
        bracket = self._bracket((0, self._loss, grad, self._slope), length)
        best = bracket[0] if len(bracket) == 1 else self._narrow(*bracket)
        return best[1], best[2], best[0], self._evaluations

    def _point_at(self, length: Any) -> Point:
        loss, grad = self._evaluate(length)
        self._evaluations += 1
        return length, loss, grad.clone(), dot(grad, self._direction)

    def _is_too_high(self, point: Point) -> bool:
        return bool(point[1] > self._loss + self.C1 * point[0] * self._slope)

    def _is_flat_enough(self, point: Point) -> bool:
        return bool(abs(point[3]) <= -self.C2 * self._slope)

    def _bracket(self, start: Point, length: Any) -> tuple[Point, ...]:
        """Walks outwards: two points with a good one between them, or a good one alone."""
        previous, current = start, self._point_at(length)
        for step in range(self.MAX_STEPS):
            if self._is_too_high(current) or (step > 1 and current[1] >= previous[1]):
                return previous, current
            if self._is_flat_enough(current):
                return (current,)
            if current[3] >= 0:
                return previous, current
            bounds = (current[0] + 0.01 * (current[0] - previous[0]), current[0] * 10)
            following = cubic_minimum(previous, current, bounds)
            previous, current = current, self._point_at(following)
        return start, current

    def _narrow(self, first: Point, second: Point) -> Point:
        """Makes the bracket smaller until its lower end is good."""
        low, high = (first, second) if first[1] <= second[1] else (second, first)
        width = _largest(self._direction)
        stalled = False
        while self._evaluations <= self.MAX_STEPS:
            if abs(high[0] - low[0]) * width < self.TOLERANCE:
                break
            length = cubic_minimum(first, second)
            # A point too near an end gains little: twice in a row is once too often.
            left, right = min(low[0], high[0]), max(low[0], high[0])
            margin = 0.1 * (right - left)
            if min(right - length, length - left) < margin:
                if stalled or length >= right or length <= left:
                    near_right = abs(length - right) < abs(length - left)
                    length = right - margin if near_right else left + margin
                    stalled = False
                else:
                    stalled = True
            else:
                stalled = False
            current = self._point_at(length)
            if self._is_too_high(current) or current[1] >= low[1]:
                high = current
                if high[1] < low[1]:
                    low, high = high, low
            else:
                if self._is_flat_enough(current):
                    return current
                if current[3] * (high[0] - low[0]) >= 0:
                    high = low
                low = current
            first, second = low, high
        return low


def cubic_minimum(first: Point, second: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with these slopes is least, kept within the bounds."""
    x1, f1, _, g1 = first
    x2, f2, _, g2 = second
    low, high = bounds if bounds is not None else ((x1, x2) if x1 <= x2 else (x2, x1))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square.sqrt()
    if x1 <= x2:
        minimum = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        minimum = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(minimum, low), high)
