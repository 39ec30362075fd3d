"""MultiheadAttention and the transformer layers (values against PyTorch are in tests/oracle)."""

import pytest

import taper as torch
from taper import nn


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return nn.MultiheadAttention(4, 2)


def test_weights_sum_to_one_and_agree_with_the_fast_way(attention):
    x = torch.randn(5, 3, 4)
    output, weights = attention(x, x, x)
    assert weights.shape == (3, 5, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 5))
    without, none = attention(x, x, x, need_weights=False)
    assert none is None
    assert torch.allclose(output, without, atol=1e-6)
    _, by_head = attention(x, x, x, average_attn_weights=False)
    assert by_head.shape == (3, 2, 5, 5)
    single, weights = attention(x[:, 0], x[:, 0], x[:, 0])
    assert torch.allclose(single, output[:, 0], atol=1e-6)
    assert weights.shape == (5, 5)


def test_batch_first_is_a_transposition(attention):
    x = torch.randn(5, 3, 4)
    other = nn.MultiheadAttention(4, 2, batch_first=True)
    other.load_state_dict(attention.state_dict())
    first = other(*[x.transpose(0, 1)] * 3)[0]
    assert torch.allclose(first.transpose(0, 1), attention(x, x, x)[0], atol=1e-6)


def test_masks(attention):
    x = torch.randn(4, 2, 4)
    causal = torch.ones(4, 4).triu(1).bool()
    _, weights = attention(x, x, x, attn_mask=causal)
    assert weights[:, 0].tolist() == [[1, 0, 0, 0]] * 2
    padding = torch.tensor([[False, False, True, True], [False] * 4])
    _, weights = attention(x, x, x, key_padding_mask=padding)
    assert weights[0, :, 2:].abs().sum().item() == 0.0
    added = torch.zeros(4, 4).masked_fill(causal, float("-inf"))
    assert torch.allclose(attention(x, x, x, attn_mask=added)[0],
                          attention(x, x, x, attn_mask=causal)[0])


def test_keys_and_values_of_other_sizes():
    layer = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True, add_zero_attn=True)
    output, weights = layer(torch.randn(2, 1, 4), torch.randn(6, 1, 3), torch.randn(6, 1, 5))
    assert output.shape == (2, 1, 4)
    assert weights.shape == (1, 2, 8)


def test_transformer_layers():
    torch.manual_seed(0)
    model = nn.Transformer(4, 2, 1, 1, 8, dropout=0.0)
    source, target = torch.randn(5, 3, 4), torch.randn(2, 3, 4)
    assert model(source, target).shape == (2, 3, 4)
    mask = nn.Transformer.generate_square_subsequent_mask(2)
    assert mask.tolist() == [[0, float("-inf")], [0, 0]]
    causal = model(source, target, tgt_mask=mask)
    changed = target.clone()
    changed[1] += 1
    assert torch.allclose(causal[0], model(source, changed, tgt_mask=mask)[0], atol=1e-6)
    with pytest.raises(RuntimeError, match="the batch number of src and tgt must be equal"):
        model(source, target[:, :1])
    with pytest.warns(UserWarning, match="enable_nested_tensor is True, but"):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 2)
