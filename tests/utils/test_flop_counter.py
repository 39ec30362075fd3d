"""Floating point operations, counted by hand."""

import taper as torch
from taper.utils.flop_counter import FlopCounterMode


def test_forward_and_backward_by_module(capsys):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(8 * 16, 10)
    )
    with FlopCounterMode() as counter:
        model(torch.ones(2, 3, 4, 4)).sum().backward()
    convolution, product = 2 * 2 * 16 * 8 * 3 * 9, 2 * 2 * 10 * 128
    # The first layer's input needs no gradient.
    assert counter.get_total_flops() == 2 * convolution + 3 * product
    counts = counter.get_flop_counts()
    assert {str(k): v for k, v in counts["Sequential.0"].items()} == {
        "aten.convolution": convolution, "aten.convolution_backward": convolution,
    }
    assert sum(counts["Sequential.2"].values()) == 3 * product
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["Module", "FLOP", "%", "Total"]
    assert table[2].split() == ["Sequential", f"{counter.get_total_flops() / 1000:.3f}K", "100.00%"]


def test_groups_transposed_and_batched():
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv1d(torch.ones(1, 4, 10), torch.ones(6, 2, 3), groups=2)
        torch.nn.functional.conv_transpose2d(torch.ones(1, 4, 5, 5), torch.ones(4, 2, 3, 3))
        torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 4, 5)).exp()
    assert counter.get_total_flops() == 2 * 8 * 36 + 2 * 25 * 72 + 2 * 2 * 3 * 4 * 5
