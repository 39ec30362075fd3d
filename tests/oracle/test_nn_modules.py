"""torch.nn's frame against PyTorch: names, signatures, state, initial values, repr, errors.

What the layers compute is compared by `conformance/modules` and the operators' own tests.
"""

import inspect
import warnings

import numpy as np
import pytest

import taper

torch = pytest.importorskip("torch")

SIDES = (torch, taper)

LAYERS = """
Identity(54, unused=True)  Linear(3, 4)  Linear(3, 4, bias=False)  Bilinear(2, 3, 4)  LazyLinear(3)
ReLU()  ReLU(inplace=True)  ReLU6()  RReLU()  RReLU(inplace=True)  Hardtanh(-2, 2)  SELU()
CELU(2.0)  ELU(inplace=True)  LeakyReLU(0.2)  PReLU(3)  SiLU(inplace=True)  Mish()  Hardswish(True)
Hardsigmoid(True)  GELU('tanh')  GLU()  Softplus()  Hardshrink()  Softshrink(0.1)  Softmin()
Softmax(1)  LogSoftmax(1)  Softmax2d()  Threshold(1, 2, True)  Sigmoid()  Tanh()  LogSigmoid()
Softsign()  Tanhshrink()
Conv1d(2, 4, 3)  Conv2d(2, 4, (3, 2), 2, 1, 2, 2, False, 'circular')
Conv2d(4, 2, 3, padding='same')  Conv3d(1, 2, 2)  ConvTranspose1d(4, 2, 3, groups=2)
ConvTranspose2d(4, 2, 3, 2, 1, 1, 2, False, 2)
ConvTranspose3d(1, 1, 2)  LazyConv2d(3, 2)  LazyConvTranspose1d(3, 2, bias=False)
MaxPool1d(2)  MaxPool2d((2, 3), 1, 1, 2, True, True)  AvgPool1d(2)  AvgPool2d(2)  AvgPool3d(2, 1)
MaxUnpool1d(2)  MaxUnpool2d(2, 3, 1)  LPPool1d(2, 3, 1, True)  LPPool2d(2, 3)  LPPool3d(2, 3)
FractionalMaxPool2d(2, output_ratio=0.5)  FractionalMaxPool3d(2, output_size=3)
AdaptiveAvgPool1d(5)  AdaptiveAvgPool2d((None, 5))  AdaptiveMaxPool2d(5, True)
ZeroPad1d(2)  ZeroPad2d((1, 2, 3, 4))  ConstantPad1d(2, 1.5)  ConstantPad3d(1, 0)
ReflectionPad1d(2)  ReplicationPad2d(1)  CircularPad3d(1)
BatchNorm1d(3)  BatchNorm2d(3, momentum=None, eps=1, affine=False, track_running_stats=False)
BatchNorm1d(3, bias=False)  LazyBatchNorm2d()  SyncBatchNorm(3)  InstanceNorm1d(3)
InstanceNorm2d(3, affine=True, track_running_stats=True)  LazyInstanceNorm3d()
LayerNorm(3)  LayerNorm((3, 4), bias=False)  LayerNorm([3], elementwise_affine=False)
RMSNorm((2, 3))  RMSNorm(3, eps=0.1, elementwise_affine=False)  GroupNorm(2, 4)
GroupNorm(2, 4, bias=False)  LocalResponseNorm(2)  CrossMapLRN2d(2)
Dropout(0.2)  Dropout1d()  Dropout2d(inplace=True)  Dropout3d()  AlphaDropout()
FeatureAlphaDropout()  Embedding(5, 3)  Embedding(5, 3, -1, 1.0, 1.0, True, True)
EmbeddingBag(5, 3)  EmbeddingBag(5, 3, 1.0, 1.0, True, 'sum', True, None, True, 1)
Flatten()  Unflatten(1, (2, 3))  Fold(4, 2)  Unfold((2, 3))  PixelShuffle(2)  PixelUnshuffle(2)
ChannelShuffle(2)  Upsample(scale_factor=(2, 3), mode='bilinear')  Upsample(size=3)
UpsamplingBilinear2d(3)  UpsamplingNearest2d(scale_factor=2)  CosineSimilarity()  PairwiseDistance()
L1Loss()  MSELoss(reduction='sum')  CrossEntropyLoss()  NLLLoss()  CTCLoss()  HuberLoss()
TripletMarginWithDistanceLoss()  LinearCrossEntropyLoss(4, 5, out_features=(2,), bias=True)
AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10], div_value=2.0, head_bias=True)
RNN(2, 3)  RNN(2, 3, 2, 'relu', bias=False)  LSTM(2, 3, 2, True, True, 0.5, True)
LSTM(2, 3, proj_size=2)  GRU(2, 3)  RNNCell(2, 3, nonlinearity='relu')  LSTMCell(2, 3, False)
GRUCell(2, 3)  MultiheadAttention(4, 2)  MultiheadAttention(4, 2, kdim=3, vdim=2, add_bias_kv=True)
Transformer(4, 2, 1, 2, 8)  TransformerEncoderLayer(4, 2, 8, bias=False)
"""
LAYERS = [text for line in LAYERS.splitlines() for text in line.split("  ") if text.strip()]


def build(side, text):
    side.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval("nn." + text, {"nn": side.nn})


def modules_of(side):
    names = [name for name in dir(torch.nn) if not name.startswith("_")]
    return {name: getattr(side.nn, name) for name in names
            if isinstance(getattr(torch.nn, name), type)}


def test_every_class_is_there():
    assert modules_of(taper).keys() == modules_of(torch).keys()


@pytest.mark.parametrize("name", sorted(modules_of(torch)))
def test_signatures(name):
    def arguments(cls):
        listed = inspect.signature(cls.__init__).parameters.values()
        return [(p.name, p.kind, p.default) for p in listed
                if not callable(p.default) and p.name != "activation"]

    ours, theirs = getattr(taper.nn, name), getattr(torch.nn, name)
    assert arguments(ours) == arguments(theirs)
    if issubclass(ours, taper.nn.Module) and name != "RNNBase":  # whose forward PyTorch lacks
        names = [list(inspect.signature(cls.forward).parameters) for cls in (ours, theirs)]
        assert names[0] == names[1]
        if "__constants__" in ours.__dict__:
            assert set(ours.__constants__) == set(theirs.__constants__)


@pytest.mark.parametrize("text", LAYERS)
def test_state_initial_values_and_repr(text):
    theirs, ours = (build(side, text) for side in SIDES)
    assert repr(ours) == repr(theirs)
    expected, found = theirs.state_dict(), ours.state_dict()
    assert list(found) == list(expected)
    assert dict(found._metadata) == dict(expected._metadata)
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    if "Lazy" in text:
        return
    for key, value in expected.items():
        np.testing.assert_allclose(
            found[key].numpy(), value.numpy(), rtol=1e-6, atol=1e-7, err_msg=key)


FAILURES = [
    lambda t, nn: nn.Linear(2, 3).get_submodule("a.b"),
    lambda t, nn: nn.Sequential(nn.Linear(1, 1)).get_parameter("0.x"),
    lambda t, nn: setattr(nn.Linear(1, 1), "weight", 5),
    lambda t, nn: setattr(nn.Linear(1, 1), "bias", t.ones(1)),
    lambda t, nn: nn.Linear(1, 1).register_buffer("weight", None),
    lambda t, nn: nn.Linear(1, 1).load_state_dict({}),
    lambda t, nn: nn.Linear(1, 1).load_state_dict({"weight": t.ones(2), "x": t.ones(1)}),
    lambda t, nn: nn.Linear(1, 1).to(t.int8),
    lambda t, nn: nn.Module()(1),
    lambda t, nn: nn.Bilinear(0, 1, 1),
    lambda t, nn: nn.Hardtanh(1, 0),
    lambda t, nn: nn.Dropout(1.5),
    lambda t, nn: nn.Conv2d(3, 4, 2, groups=2),
    lambda t, nn: nn.Conv2d(4, 4, 2, groups=0),
    lambda t, nn: nn.Conv2d(4, 4, 2, 2, padding="same"),
    lambda t, nn: nn.ConvTranspose2d(4, 4, 2, padding_mode="reflect"),
    lambda t, nn: nn.FractionalMaxPool2d(2),
    lambda t, nn: nn.FractionalMaxPool2d(2, output_ratio=1.5),
    lambda t, nn: nn.BatchNorm2d(3)(t.ones(2, 3)),
    lambda t, nn: nn.InstanceNorm2d(3)(t.ones(2, 3)),
    lambda t, nn: nn.GroupNorm(3, 4),
    lambda t, nn: nn.Embedding(3, 2, 5),
    lambda t, nn: nn.Embedding(3, 2, _weight=t.ones(2, 2)),
    lambda t, nn: nn.Embedding.from_pretrained(t.ones(3)),
    lambda t, nn: nn.Unflatten(1, 5),
    lambda t, nn: nn.Unflatten(1, [2, "a"]),
    lambda t, nn: nn.Softmax2d()(t.ones(2)),
    lambda t, nn: nn.CircularPad1d(2)(t.ones(2, 3, 4, 5)),
    lambda t, nn: nn.MultiMarginLoss(p=3),
    lambda t, nn: nn.TripletMarginLoss(margin=-1),
    lambda t, nn: nn.HuberLoss(delta=1j),
    lambda t, nn: nn.AdaptiveLogSoftmaxWithLoss(16, 20, [10, 5]),
    lambda t, nn: nn.RNN(2, 3, nonlinearity="foo"),
    lambda t, nn: nn.LSTM(2, 3, dropout=2),
    lambda t, nn: nn.LSTM(2, 3, proj_size=3),
    lambda t, nn: nn.GRU(2, 3, proj_size=3),
    lambda t, nn: nn.GRU(2, 0),
    lambda t, nn: nn.GRU(2, 3)(t.ones(2, 2, 5)),
    lambda t, nn: nn.GRU(2, 3)(t.ones(2, 2, 2), t.ones(2, 2, 2)),
    lambda t, nn: nn.LSTM(2, 3)(t.ones(2, 2), (t.ones(1, 1, 3), t.ones(1, 1, 3))),
    lambda t, nn: nn.LSTM(2, 3)(t.ones(2, 2, 2, 2)),
    lambda t, nn: nn.RNNCell(2, 3)(t.ones(2, 5)),
    lambda t, nn: nn.GRUCell(2, 3)(t.ones(2, 2), t.ones(5, 3)),
    lambda t, nn: nn.LSTMCell(2, 3)(t.ones(2, 2), (t.ones(2, 3), t.ones(2, 4))),
    lambda t, nn: nn.MultiheadAttention(5, 2),
    lambda t, nn: nn.MultiheadAttention(4, 2)(t.ones(3), t.ones(3), t.ones(3)),
    lambda t, nn: nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 4)] * 3, is_causal=True),
    lambda t, nn: nn.MultiheadAttention(4, 2)(*[t.ones(3, 2, 4)] * 3, attn_mask=t.ones(2, 2)),
    lambda t, nn: nn.TransformerEncoderLayer(4, 2, activation="foo"),
    lambda t, nn: nn.Sequential(nn.ReLU())[3],
    lambda t, nn: nn.Sequential(nn.ReLU()).insert(9, nn.ReLU()),
    lambda t, nn: nn.ModuleList(5),
    lambda t, nn: nn.ModuleDict({"keys": nn.ReLU()}),
    lambda t, nn: nn.ParameterDict({5: t.ones(1)}),
    lambda t, nn: nn.ParameterDict([5]),
    lambda t, nn: nn.init.xavier_uniform_(t.ones(3)),
    lambda t, nn: nn.init.kaiming_uniform_(t.ones(3, 2), mode="foo"),
    lambda t, nn: nn.init.calculate_gain("foo"),
    lambda t, nn: nn.utils.rnn.pack_padded_sequence(t.ones(3, 2), [1, 3]),
    lambda t, nn: nn.utils.rnn.pad_sequence(5),
    lambda t, nn: nn.utils.remove_weight_norm(nn.Linear(1, 1)),
    lambda t, nn: nn.utils.parametrize.register_parametrization(
        nn.Linear(1, 1), "foo", nn.ReLU()),
]


@pytest.mark.parametrize("act", FAILURES)
def test_errors(act):
    raised = []
    for side in SIDES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                act(side, side.nn)
                raised.append(None)
            except Exception as error:
                raised.append((type(error), str(error)))
    assert raised[1] == raised[0]


@pytest.mark.parametrize("text", [
    "uniform_(w, -1, 2)", "normal_(w, 1, 2)", "trunc_normal_(w)", "trunc_normal_(w, 0, 1, 1.5, 3)",
    "trunc_normal_(w, std=0.02)", "xavier_uniform_(w)", "xavier_normal_(w, 2)",
    "kaiming_uniform_(w)", "kaiming_normal_(w, 0.1, 'fan_out', 'leaky_relu')",
    "orthogonal_(w)", "orthogonal_(w.T, 2)", "sparse_(w, 0.3)", "eye_(w)",
    "dirac_(w.reshape(4, 5, 5), 2)",
])
def test_initialisers(text):
    drawn = []
    for side in SIDES:
        side.manual_seed(3)
        drawn.append(eval("init." + text, {"init": side.nn.init, "w": side.zeros(20, 5)}))
    np.testing.assert_allclose(drawn[1].numpy(), drawn[0].numpy(), rtol=2e-5, atol=1e-6)


def test_initialisers_take_a_generator():
    drawn = []
    for side in SIDES:
        generator = side.Generator().manual_seed(11)
        drawn.append(side.nn.init.kaiming_normal_(side.empty(20, 5), generator=generator))
    np.testing.assert_allclose(drawn[1].numpy(), drawn[0].numpy(), rtol=1e-5)


@pytest.mark.parametrize("text", [
    "RNN(3, 4, 2, batch_first=True)", "LSTM(3, 4, 2, bidirectional=True)",
    "LSTM(3, 4, proj_size=2)", "GRU(3, 4, bidirectional=True, bias=False)",
])
def test_packed_sequences_through_recurrent_layers(text):
    found = []
    for side in SIDES:
        layer = build(side, text)
        data = side.arange(30.0).reshape(5, 2, 3).sin()
        if layer.batch_first:
            data = data.transpose(0, 1)
        packed = side.nn.utils.rnn.pack_padded_sequence(
            data, [3, 5], batch_first=layer.batch_first, enforce_sorted=False)
        output, state = layer(packed)
        padded, lengths = side.nn.utils.rnn.pad_packed_sequence(output)
        padded.sum().backward()
        state = state if isinstance(state, tuple) else (state,)
        found.append([padded, lengths, *state, *[p.grad for p in layer.parameters()]])
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(
            ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_backward_hooks_see_the_same_gradients():
    found = []
    for side in SIDES:
        net = side.nn.Sequential(build(side, "Linear(3, 4)"), side.nn.ReLU(),
                                 build(side, "Linear(4, 2)"))
        seen = []
        for module in net.modules():
            module.register_full_backward_pre_hook(
                lambda m, grad_output, seen=seen: seen.append((type(m).__name__, grad_output)))
            module.register_full_backward_hook(
                lambda m, gi, go, seen=seen: seen.append((type(m).__name__, (*gi, *go))))
        x = side.arange(6.0).reshape(2, 3).requires_grad_()
        net(x).pow(2).sum().backward()
        found.append([(name, [None if g is None else g.tolist() for g in grads])
                      for name, grads in seen])
    assert [name for name, _ in found[1]] == [name for name, _ in found[0]]
    for (_, theirs), (_, ours) in zip(*found, strict=True):
        for their, our in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(our, their, rtol=1e-5, atol=1e-6)


def test_a_state_dict_of_either_side_loads_in_the_other():
    theirs, ours = (build(side, "Transformer(4, 2, 1, 1, 8)") for side in SIDES)
    ours.load_state_dict({k: taper.from_numpy(v.numpy() + 1)
                          for k, v in theirs.state_dict().items()})
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrizations(name):
    found = []
    for side in SIDES:
        layer = build(side, "Linear(4, 3)")
        getattr(side.nn.utils.parametrizations, name)(layer)
        layer(side.ones(4)).sum().backward()
        found.append((repr(layer), list(layer.state_dict()), layer.weight.detach().numpy(),
                      [p.grad.numpy() for p in layer.parameters()]))
    assert found[1][:2] == found[0][:2]
    np.testing.assert_allclose(found[1][2], found[0][2], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(found[1][3], found[0][3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
