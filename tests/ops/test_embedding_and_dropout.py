import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

F = torch.nn.functional


def table():
    return torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)


def test_embedding_looks_up_rows():
    w = table()
    y = F.embedding(torch.tensor([[2, 0], [2, 1]]), w, padding_idx=0)
    assert y.tolist() == [[[5, 6], [1, 2]], [[5, 6], [3, 4]]]
    y.sum().backward()
    assert w.grad.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert y.grad_fn.name() == "EmbeddingBackward0"


def test_many_rows_are_added_as_few_are():
    index = torch.arange(0, 5000) % 7
    w = torch.randn(7, 3, requires_grad=True)
    F.embedding(index, w).sum().backward()
    assert w.grad[:, 0].tolist() == [715, 715, 714, 714, 714, 714, 714]


def test_embedding_scales_gradients_and_norms():
    w = table()
    F.embedding(torch.tensor([2, 2, 0]), w, scale_grad_by_freq=True).sum().backward()
    assert w.grad.tolist() == [[1, 1], [0, 0], [1, 1]]
    w = torch.tensor([[3.0, 4.0], [30.0, 40.0]])
    F.embedding(torch.tensor([1]), w, max_norm=5.0)
    assert torch.allclose(w, torch.tensor([[3.0, 4.0], [3.0, 4.0]]))


def test_embedding_errors():
    for index in (3, -1):
        with pytest.raises(IndexError, match="index out of range in self"):
            F.embedding(torch.tensor([index]), table())
    with pytest.raises(RuntimeError, match=r"Long, Int; but got torch\.FloatTensor"):
        F.embedding(torch.tensor([1.0]), table())
    with pytest.raises(AssertionError, match="Padding_idx must be within num_embeddings"):
        F.embedding(torch.tensor([1]), table(), padding_idx=3)


def test_embedding_bag_modes():
    index, offsets = torch.tensor([0, 2, 1]), torch.tensor([0, 2])
    assert F.embedding_bag(index, table(), offsets, mode="sum").tolist() == [[6, 8], [3, 4]]
    assert F.embedding_bag(index, table(), offsets).tolist() == [[3, 4], [3, 4]]
    assert F.embedding_bag(index, table(), offsets, mode="max").tolist() == [[5, 6], [3, 4]]
    weights = torch.tensor([1.0, 10.0, 100.0])
    y = F.embedding_bag(index, table(), offsets, mode="sum", per_sample_weights=weights)
    assert y.tolist() == [[51, 62], [300, 400]]
    y = F.embedding_bag(index, table(), torch.tensor([0, 0, 3]), mode="sum", padding_idx=2)
    assert y.tolist() == [[0, 0], [4, 6], [0, 0]]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag_derivatives(mode):
    w = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 2], [2, 3]])
    assert gradcheck(lambda w: F.embedding_bag(index, w, mode=mode), (w,))
    if mode == "sum":
        s = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
        both = lambda w, s: F.embedding_bag(index, w, mode="sum", per_sample_weights=s)  # noqa: E731
        assert gradcheck(both, (w, s))
        assert gradgradcheck(both, (w, s))


def test_one_hot():
    assert F.one_hot(torch.tensor([[1], [0]])).tolist() == [[[0, 1]], [[1, 0]]]
    assert F.one_hot(torch.tensor([1]), 3).tolist() == [[0, 1, 0]]
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        F.one_hot(torch.tensor([3]), 3)


def test_dropout_draws_what_pytorch_draws():
    torch.manual_seed(0)  # torch.nn.functional.dropout(torch.ones(6), 0.5) after manual_seed(0)
    assert F.dropout(torch.ones(6), 0.5).tolist() == [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]


def test_dropout_keeps_or_scales():
    x = torch.ones(1000)
    y = F.dropout(x, 0.2)
    assert set(y.tolist()) == {0.0, 1.25}
    assert F.dropout(x, 0.2, training=False) is x
    assert F.dropout(x, 1.0).sum() == 0
    z = torch.ones(100)
    assert F.dropout(z, 0.5, inplace=True) is z
    assert set(z.tolist()) == {0.0, 2.0}


def test_channels_are_dropped_as_a_whole():
    for function, shape in ((F.dropout1d, (4, 5, 6)), (F.dropout2d, (4, 5, 3, 2)),
                            (F.dropout3d, (4, 5, 2, 2, 2))):
        y = function(torch.ones(shape), 0.5).flatten(2)
        assert (y == y[:, :, :1]).all()
        assert 0 < (y == 0).sum() < y.numel()


def test_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(1)
    y = F.alpha_dropout(torch.randn(100_000), 0.3, training=True)
    assert abs(y.mean().item()) < 0.02
    assert abs(y.var().item() - 1) < 0.02


def test_dropout_errors():
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        F.dropout(torch.ones(2), 1.5)
    with pytest.raises(RuntimeError, match="dropout1d: Expected 2D or 3D input"):
        F.dropout1d(torch.ones(2))
