"""torchvision's operators: values by hand, and what they are at their simplest."""

import pytest

import taper as torch
import taper.nn.functional as F
from taper.vision_operators import deform_conv2d, nms, roi_align, roi_pool


def image(*shape):
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def test_the_better_of_two_boxes_that_overlap_stays():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [0, 3, 4, 7], [9, 9, 10, 10]])
    scores = torch.tensor([0.3, 0.9, 0.5, 0.1])
    # The first shares 12 of 16 with the second, and 4 of 28 with the third.
    assert nms(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert nms(boxes, scores, 0.75).tolist() == [1, 2, 0, 3]  # not more than 0.75: it stays
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


@pytest.mark.parametrize("bad", [(torch.ones(4), torch.ones(1)), (torch.ones(2, 5), torch.ones(2)),
                                 (torch.ones(2, 4), torch.ones(3))])
def test_boxes_of_wrong_shapes_are_refused(bad):
    with pytest.raises(RuntimeError, match="should"):
        nms(*bad, 0.5)


@pytest.mark.parametrize("ratio", [1, 2, -1])
def test_regions_that_are_cells_of_the_image_average_them(ratio):
    x = image(1, 2, 4, 6)
    whole = roi_align(x, torch.tensor([[0.0, 0, 0, 6, 4]]), 1.0, 2, 3, max(ratio, 2), True)
    assert whole.tolist() == F.avg_pool2d(x, 2).tolist()
    pixels = roi_align(x, torch.tensor([[0.0, 1, 1, 3, 2]]), 1.0, 1, 2, ratio, True)
    assert pixels.tolist() == x[:, :, 1:2, 1:3].tolist()


def test_points_far_outside_count_as_zero():
    outside = torch.tensor([[0.0, 20, 20, 24, 24]])
    assert roi_align(image(1, 1, 4, 4), outside, 1.0, 1, 1, 2, True).item() == 0


def test_gradients_of_regions_go_to_the_pixels_read():
    x = image(2, 1, 4, 4).requires_grad_()
    rois = torch.tensor([[1.0, 0, 0, 2, 2], [0, 0, 0, 4, 4]])
    roi_align(x, rois, 1.0, 1, 1, 2, True).sum().backward()
    assert x.grad[1].tolist() == [[[0.25, 0.25, 0, 0], [0.25, 0.25, 0, 0], [0] * 4, [0] * 4]]
    assert x.grad[0].sum().item() == 1


def test_the_largest_of_each_cell_and_where_it_is():
    x = image(1, 1, 4, 4)
    values, places = roi_pool(x, torch.tensor([[0.0, 0, 0, 3, 3]]), 1.0, 2, 2)
    assert values.tolist() == [[[[5, 7], [13, 15]]]]
    assert places.tolist() == [[[[5, 7], [13, 15]]]]
    assert places.dtype is torch.int32
    empty, nowhere = roi_pool(x, torch.tensor([[0.0, 9, 9, 12, 12]]), 1.0, 1, 1)
    assert (empty.item(), nowhere.item()) == (0, -1)


def test_regions_need_five_numbers_of_the_images_dtype():
    with pytest.raises(RuntimeError, match=r"rois must have shape as Tensor\[K, 5\]"):
        roi_align(image(1, 1, 2, 2), torch.ones(1, 4), 1.0, 1, 1, 1, True)
    with pytest.raises(RuntimeError, match="to have the same type as tensor"):
        roi_pool(image(1, 1, 2, 2), torch.ones(1, 5, dtype=torch.float64), 1.0, 1, 1)


def test_a_deformed_convolution_without_offsets_is_a_convolution():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 4, 5, 6), torch.randn(6, 2, 3, 3), torch.randn(6)
    plain = F.conv2d(x, weight, bias, stride=2, padding=1, groups=2)
    offset = torch.zeros(2, 18, 3, 3)
    mask = torch.full((2, 9, 3, 3), 0.5)
    geometry = (2, 2, 1, 1, 1, 1, 2, 1)
    found = deform_conv2d(x, weight, offset, mask, bias, *geometry, False)
    torch.testing.assert_close(found, plain)
    halved = deform_conv2d(x, weight, offset, mask, bias, *geometry, True)
    torch.testing.assert_close(halved, (plain + bias[:, None, None]) / 2)


def test_offsets_move_what_is_read():
    x = image(1, 1, 4, 4)
    weight, nothing = torch.ones(1, 1, 1, 1), torch.zeros(1)
    offset = torch.zeros(1, 2, 4, 4)
    offset[:, 1] = 0.5  # half a pixel to the right; beyond the border is zero
    found = deform_conv2d(x, weight, offset, torch.ones(0), nothing, *[1, 1, 0, 0, 1, 1, 1, 1],
                          False)
    assert found[0, 0, 1].tolist() == [4.5, 5.5, 6.5, 3.5]


def test_torchvisions_library_is_replaced_and_others_refused():
    torch.ops.load_library("somewhere/torchvision/_C.so")
    boxes = torch.tensor([[0.0, 0, 1, 1]])
    assert torch.ops.torchvision.nms(boxes, torch.ones(1), 0.5).tolist() == [0]
    assert torch.ops.torchvision._cuda_version() == -1
    with pytest.raises(OSError, match="can't load C"):
        torch.ops.load_library("somewhere/libmine.so")
