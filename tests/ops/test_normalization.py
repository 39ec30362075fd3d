import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

F = torch.nn.functional


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_batch_norm_moves_running_statistics():
    x = torch.tensor([[1.0], [3.0]])
    mean, var = torch.zeros(1), torch.ones(1)
    y = F.batch_norm(x, mean, var, training=True, momentum=0.5, eps=1e-12)
    assert y.tolist() == [[-1], [1]]
    assert mean.item() == 1  # half way to 2
    assert var.item() == 1.5  # half way to the unbiased variance, 2
    assert mean._version == 1
    y = F.batch_norm(x, mean, var, torch.tensor([2.0]), torch.tensor([1.0]), eps=1e-12)
    assert y.tolist() == [[1.0], [pytest.approx(1 + 4 / 1.5**0.5)]]
    assert mean.item() == 1


def test_running_statistics_of_halves_move():
    mean, var = torch.zeros(1).half(), torch.ones(1).half()
    F.batch_norm(torch.tensor([[1.0], [3.0]]).half(), mean, var, training=True, momentum=1.0)
    assert (mean.item(), var.item()) == (2, 2)


def test_layer_and_group_norm_by_hand():
    x = torch.tensor([[1.0, 3.0, 10.0, 30.0]])
    assert F.layer_norm(x[:, :2], (2,), eps=0.0).tolist() == [[-1, 1]]
    assert F.group_norm(x, 2, eps=0.0).tolist() == [[-1, 1, -1, 1]]
    w, b = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0])
    assert F.layer_norm(x[:, :2], (2,), w, b, 0.0).tolist() == [[-1, 7]]
    assert F.instance_norm(x.reshape(1, 2, 2), eps=0.0).tolist() == [[[-1, 1], [-1, 1]]]
    assert F.rms_norm(torch.tensor([3.0, 4.0]), (2,), eps=0.0).tolist() == pytest.approx(
        [3 / 12.5**0.5, 4 / 12.5**0.5]
    )


def test_layer_norm_of_many_rows_is_that_of_each():
    x = torch.randn(300, 200) * 3 + 5
    y = F.layer_norm(x, (200,))
    assert torch.allclose(y[7], F.layer_norm(x[7], (200,)), atol=1e-6)
    assert y.mean(1).abs().max() < 1e-5


def test_local_response_norm():
    x = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1)
    y = F.local_response_norm(x, 3, alpha=3.0, beta=1.0, k=0.0)
    assert y.flatten().tolist() == pytest.approx([1 / 5, 2 / 14, 3 / 13])


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(3, 2, 2), (2,), (2,)]),
        (
            lambda x, w, b: F.batch_norm(
                x, torch.tensor([0.5, 1.0]).double(), torch.tensor([1.0, 2.0]).double(), w, b
            ),
            [(3, 2, 2), (2,), (2,)],
        ),
        (lambda x, w, b: F.layer_norm(x, (2, 3), w, b), [(2, 2, 3), (2, 3), (2, 3)]),
        (lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 3), (4,), (4,)]),
        (lambda x, w, b: F.instance_norm(x, None, None, w, b), [(2, 2, 3), (2,), (2,)]),
        (lambda x, w, b: F.rms_norm(x, (3,), w) + b, [(2, 3), (3,), (3,)]),
        (lambda x, w, b: F.local_response_norm(x, 2) * w * b, [(1, 3, 2), (2,), (2,)]),
    ],
)
def test_derivatives(function, shapes):
    inputs = [random(*s) for s in shapes]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_errors():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        F.batch_norm(x[:1], None, None, training=True)
    with pytest.raises(RuntimeError, match="weight should contain 3 elements not 2"):
        F.batch_norm(x, None, None, torch.ones(2), training=True)
    with pytest.raises(RuntimeError, match=r"expected input with shape \[\*, 4\]"):
        F.layer_norm(x, (4,))
    with pytest.raises(RuntimeError, match="divisible by num_groups"):
        F.group_norm(x, 2)
    with pytest.raises(RuntimeError, match="running_mean must be defined in evaluation mode"):
        F.batch_norm(x, None, None)


def test_node_names():
    x = random(2, 2, 2)
    assert F.batch_norm(x, None, None, training=True).grad_fn.name() == "NativeBatchNormBackward0"
    assert F.layer_norm(x, (2,)).grad_fn.name() == "NativeLayerNormBackward0"
    assert F.group_norm(x, 2).grad_fn.name() == "NativeGroupNormBackward0"


@pytest.mark.parametrize("norm", [
    lambda x, w: F.layer_norm(x, (3,), w, w),
    lambda x, w: F.group_norm(x, 3, w, w),
    lambda x, w: F.batch_norm(x, None, None, w, w, training=True),
])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_halves_are_halves(norm, create_graph):
    x = torch.tensor([[1.0, 2, 4], [0, 5, 1]], dtype=torch.bfloat16, requires_grad=True)
    w = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    v = w * 1  # whose gradient nobody converts
    for gradient in torch.autograd.grad(norm(x, v).sum(), [x, v], create_graph=create_graph):
        assert gradient.dtype is torch.bfloat16
