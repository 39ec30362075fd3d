"""Recipes of launches: run as calls that are planned."""

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import launch_recipes
from taper.runtime import planned_calls

pytestmark = pytest.mark.skipif(
    not machine.is_available() or machine.host().vector_bytes < 32, reason="needs vectors")


def test_a_recipe_is_an_argument_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "now")
    x, weight = taper.randn(3, 5, 12, 11), taper.randn(6, 5, 3, 3)
    first = taper.conv2d(x, weight)
    seen = []
    original = planned_calls._Plans.__call__

    def looking(self, *args, **named):
        seen.append(self.compute.__name__)
        return original(self, *args, **named)

    monkeypatch.setattr(planned_calls._Plans, "__call__", looking)
    for _ in range(3):
        np.testing.assert_array_equal(taper.conv2d(x, weight).numpy(), first.numpy())
    assert launch_recipes.run.__name__ not in seen[1:]
