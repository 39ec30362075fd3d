"""Reading and writing by ``x[…]``."""

import pytest

import taper as torch


@pytest.fixture
def x():
    return torch.arange(12.0).reshape(3, 4).clone()


def test_views_and_copies(x):
    assert x[1].tolist() == [4, 5, 6, 7]
    assert x[:, 1:3].tolist() == [[1, 2], [5, 6], [9, 10]]
    assert x[..., -1].tolist() == [3, 7, 11]
    assert x[1]._base is x and x[None].shape == (1, 3, 4) and x[()].shape == (3, 4)
    assert x[torch.tensor(1)]._base is x
    assert x[[0, 2]]._base is None


def test_masks_and_positions(x):
    assert x[x > 9].tolist() == [10, 11]
    assert x[torch.tensor([True, False, True])].shape == (2, 4)
    assert x[[2, 0], [1, -1]].tolist() == [9, 3]
    assert x[torch.tensor([[0], [1]]), torch.tensor([0, 1])].tolist() == [[0, 1], [4, 5]]
    assert x[True].shape == (1, 3, 4) and x[False].shape == (0, 3, 4)


def test_where_the_dimensions_of_positions_go():
    z = torch.zeros(2, 3, 4, 5)
    assert z[0, :, [0, 1]].shape == (3, 2, 5)  # NumPy: (2, 3, 5)
    assert z[[0, 1], :, 0].shape == (2, 3, 5)
    assert z[[0, 1], :, [0]].shape == (2, 3, 5)
    assert z[:, [0, 1], [0]].shape == (2, 2, 5)
    assert z[:, [0, 1], None, [0]].shape == (2, 2, 1, 5)
    assert z[torch.ones(2, 3, dtype=torch.bool), 0].shape == (6, 5)


def test_bytes_are_masks_with_a_warning(x):
    with pytest.warns(UserWarning, match="indexing with dtype torch.uint8 is now deprecated"):
        assert x[torch.tensor([1, 0, 0], dtype=torch.uint8)].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
        ((0, 4), IndexError, "index 4 is out of bounds for dimension 1 with size 4"),
        ((0, 0, 0), IndexError, "too many indices for tensor of dimension 2"),
        (slice(None, None, -1), ValueError, "step must be greater than zero"),
        (slice(None, None, 0), ValueError, "slice step cannot be zero"),
        (1.5, IndexError, "only integers, slices"),
        ("a", TypeError, "invalid data type 'str'"),
        ([3], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
        (([0, 1], [0, 1, 2]), IndexError, r"shape mismatch: indexing tensors .* \[2\], \[3\]"),
        (([9, 1], [0, 1, 2]), IndexError, "shape mismatch"),
        ([True, False], IndexError, r"The shape of the mask \[2\] at index 0 does not match"),
    ],
)
def test_errors(x, index, error, message):
    with pytest.raises(error, match=message):
        x[index]


def test_zero_dimensional_tensors_have_no_elements_to_name():
    with pytest.raises(IndexError, match="invalid index of a 0-dim tensor"):
        torch.tensor(1)[0]
    with pytest.raises(IndexError, match=r"slice\(\) cannot be applied to a 0-dim tensor"):
        torch.tensor(1)[:]


def test_writing(x):
    x[0] = 1
    x[1, 1:3] = torch.tensor([[7.0, 8.0]])
    x[x > 9] = 0
    x[[2], [0]] = -1
    assert x.tolist() == [[1, 1, 1, 1], [4, 7, 8, 7], [-1, 9, 0, 0]]
    assert x._version == 4
    i = torch.zeros(2, dtype=torch.int64)
    i[0] = 1.7
    assert i.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("index", "value", "error", "message"),
    [
        (0, "a", TypeError, "can't assign a str to a torch.FloatTensor"),
        (0, torch.zeros(3), RuntimeError, r"The expanded size of the tensor \(4\) must match"),
        ([0], torch.zeros(4, dtype=torch.int64), RuntimeError, "Index put requires the source and"),
        ([0, 1], torch.zeros(3), RuntimeError, r"shape mismatch: value tensor of shape \[3\]"),
        (5, 0, IndexError, "index 5 is out of bounds"),
    ],
)
def test_writing_errors(x, index, value, error, message):
    with pytest.raises(error, match=message):
        x[index] = value


def test_gradients_of_reading():
    x = torch.zeros(3, 4, requires_grad=True)
    names = [y.grad_fn.name() for y in (x[0], x[:, 1:3], x[None], x[...], x[[0]], x[x > 0])]
    assert names == ["SelectBackward0", "SliceBackward0", "UnsqueezeBackward0", "AliasBackward0",
                     "IndexBackward0", "IndexBackward0"]
    (x[0, 1:3].sum() + 2 * x[[2, 2], [0, 0]].sum()).backward()
    assert x.grad.tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [4, 0, 0, 0]]


def test_gradients_of_writing():
    w = torch.ones(2, requires_grad=True)
    y = torch.zeros(2, 2)
    y[0] = w * 3
    assert type(y.grad_fn).__name__ == "CopySlices"
    y[[1], [0]] = w[1:] * 5
    assert y.grad_fn.name() == "IndexPutBackward0"
    y.sum().backward()
    assert w.grad.tolist() == [3, 8]


def test_index_put_accumulates():
    at = (torch.tensor([0, 0, 1]),)
    values = torch.ones(3, requires_grad=True)
    x = torch.zeros(2)
    assert torch.index_put(x, at, values, accumulate=True).tolist() == [2, 1]
    x.index_put_(at, values * 2, accumulate=True).sum().backward()
    assert values.grad.tolist() == [2, 2, 2]


def test_a_changed_index_is_noticed():
    x = torch.ones(3, requires_grad=True)
    i = torch.tensor([0])
    y = x[i]
    i += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_dims_of_one_element_have_strides_of_rows():
    x = torch.arange(36).reshape(1, 3, 4, 3)
    rows = x[torch.tensor(0), torch.tensor([0, 2, -2]), None]
    assert rows.stride() == (12, 12, 3, 1)
    # Their strides tell images whose channels lie side by side, which stay so when joined.
    assert torch.hstack([rows, rows]).stride() == (24, 12, 3, 1)


@pytest.mark.parametrize("run", [lambda f: f, torch.compile], ids=["as it is", "compiled"])
def test_positions_in_an_empty_tensor_are_never_out_of_range(run):
    far = torch.tensor([0, 1, 9])

    def read(x):
        return x[far, 1:, 0]

    def put(x):
        y = x * 1
        y[far, 1:, 0] = 2.0
        return y, x[:0].permute(1, 0, 2, 3).index_put((far,), torch.ones(()), accumulate=True)

    read, put = run(read), run(put)
    for _ in range(3):
        x = torch.ones(1, 1, 3, 3, requires_grad=True)
        found = read(x)
        assert found.shape == (3, 0, 3)
        found.sum().backward()
        assert torch.equal(x.grad, torch.zeros(1, 1, 3, 3))
        written, empty = put(x)
        assert torch.equal(written, x) and empty.shape == (1, 0, 3, 3)
    with pytest.raises(IndexError, match="dimension with size 0"):
        torch.ones(0, 0)[far]
    with pytest.raises(IndexError, match="dimension with size 0"):
        torch.ones(0, 0)[far] = 1.0
