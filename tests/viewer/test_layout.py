"""Boxes don't overlap, inputs lie above what they feed, and long edges have bends."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from taper.viewer.layout import place


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    count = draw(st.integers(1, 25))
    return [
        draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else [] for i in range(count)
    ]


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_any_graph(inputs: list[list[int]]) -> None:
    sizes = [(40.0 + 7 * (i % 5), 20.0 + 10 * (i % 3)) for i in range(len(inputs))]
    layout = place(inputs, sizes)
    boxes = list(zip(layout.centers, sizes, strict=True))
    for i, own in enumerate(inputs):
        for j in own:
            (_, above), (_, height) = boxes[j]
            (_, below), (_, own_height) = boxes[i]
            assert above + height / 2 <= below - own_height / 2
            points = layout.edges[j, i]
            assert points[0] == (boxes[j][0][0], above + height / 2)
            assert points[-1] == (boxes[i][0][0], below - own_height / 2)
            assert all(p[1] < q[1] for p, q in itertools.pairwise(points))
    for k, ((x0, y0), (w0, h0)) in enumerate(boxes):
        assert x0 - w0 / 2 + 1e-6 >= 0 and x0 + w0 / 2 <= layout.width + 1e-6
        assert y0 - h0 / 2 + 1e-6 >= 0 and y0 + h0 / 2 <= layout.height + 1e-6
        for (x1, y1), (w1, h1) in boxes[k + 1:]:
            apart = abs(x0 - x1) + 1e-6 >= (w0 + w1) / 2 or abs(y0 - y1) + 1e-6 >= (h0 + h1) / 2
            assert apart


def test_a_chain_is_straight() -> None:
    layout = place([[], [0], [1], [2]], [(50.0, 20.0)] * 4)
    assert len({x for x, _ in layout.centers}) == 1


def test_an_edge_over_several_layers_bends_around_boxes() -> None:
    layout = place([[], [0], [1], [2, 0]], [(50.0, 20.0)] * 4)
    assert len(layout.edges[0, 3]) == 4
    assert len(layout.edges[0, 1]) == 2


def test_nothing() -> None:
    assert place([], []).centers == []
