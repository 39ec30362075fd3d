"""Operators as functions of tensors alone, and several samples of those tensors."""

from operator_samples import (
    BY_NAME,
    BY_SIGNATURE,
    CONSTANT,
    FINISH,
    KEYWORDS,
    PREPARE,
    Maker,
    mapped,
    required_parameters,
    results_of,
    tensors_in,
)

import taper as torch
from taper.ops.declare import OPERATORS

SAMPLES = 3


def arguments(path, number):
    """The sample arguments of an operator, with other numbers for each `number`."""
    maker = Maker(f"{path}{number or ''}")
    rule = BY_NAME.get(path) or BY_SIGNATURE[required_parameters(OPERATORS[path])]
    keywords = {
        name: value if isinstance(value, (str, list, tuple)) or not hasattr(value, "dtype")
        else torch.as_tensor(value)
        for name, value in KEYWORDS.get(path, {}).items()
    }
    return rule(maker), keywords


class Call:
    """A call of an operator, as a function of the tensors among its arguments.

    `tensors` has one list for each sample; with `only_floats`, integers are those of the first.
    """

    def __init__(self, path, only_floats=False):
        self.path = path
        samples = [arguments(path, i) for i in range(SAMPLES)]
        self.first = samples[0]
        constant = CONSTANT.get(path, ()) if only_floats else ()
        flat = [tensors_in(s) for s in samples]
        self.positions = [
            i for i, t in enumerate(flat[0]) if i not in constant
            and (not only_floats or t.is_floating_point() or t.is_complex())
        ]
        self.tensors = [[s[i] for i in self.positions] for s in flat]

    def __call__(self, *tensors):
        given = dict(zip(self.positions, tensors, strict=True))
        count = iter(range(1000))
        args, keywords = mapped(lambda t: given.get(next(count), t), self.first)
        args = PREPARE.get(self.path, lambda *a: a)(*args)
        results = results_of(OPERATORS[self.path].function(*args, **keywords))
        return tuple(FINISH.get(self.path, lambda *r: r)(*results))

    def stacked(self, batched):
        """One argument for each tensor: of all samples where `batched`, else of the first."""
        return [
            torch.stack(list(column)) if is_batched else column[0].clone()
            for column, is_batched in zip(zip(*self.tensors, strict=True), batched, strict=True)
        ]

    def sample(self, i, batched):
        """The tensors of sample i, where `batched`; else those of the first."""
        return [
            self.tensors[i if is_batched else 0][j].clone() for j, is_batched in enumerate(batched)
        ]

    def ways(self):
        """Which tensors are batched: all, or one alone."""
        n = len(self.positions)
        yield (True,) * n
        if n > 1:
            for i in range(n):
                yield tuple([i == j for j in range(n)])
