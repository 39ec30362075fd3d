"""Statements of random programs: what networks are made of, as functions and as modules."""

from __future__ import annotations

import math

from program_writer import Writer, by_steps, family, is_row_major

# {f} is torch.nn.functional; {x} has the shape that stands first, {y} and {z} the others.
LAYERS = (
    ("{f}.conv1d({x}, {y})", (1, 2, 5), (3, 2, 2), ()),
    ("{f}.conv1d({x}, {y}, {z}, stride=2, padding=1)", (2, 2, 5), (3, 2, 3), (3,)),
    ("{f}.conv1d({x}, {y}, padding='same', dilation=2)", (1, 2, 5), (2, 2, 2), ()),
    ("{f}.conv2d({x}, {y})", (1, 2, 4, 4), (2, 2, 3, 3), ()),
    ("{f}.conv2d({x}, {y}, {z}, padding=1)", (1, 1, 3, 4), (2, 1, 2, 2), (2,)),
    ("{f}.conv2d({x}, {y}, stride=2, padding=(1, 0), groups=2)", (1, 2, 4, 4), (4, 1, 2, 2), ()),
    ("{f}.conv2d({x}, {y}, dilation=2)", (2, 4, 4), (1, 2, 2, 2), ()),
    ("{f}.conv3d({x}, {y})", (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), ()),
    ("{f}.conv_transpose1d({x}, {y}, stride=2, output_padding=1)", (1, 2, 3), (2, 2, 2), ()),
    ("{f}.conv_transpose2d({x}, {y}, {z}, stride=2, padding=1)", (1, 2, 3, 3), (2, 1, 2, 2), (1,)),
    ("{f}.conv_transpose2d({x}, {y}, groups=2)", (1, 2, 2, 2), (2, 2, 2, 2), ()),
    ("~{f}.linear({x}, {y}, {z})", (2, 2, 3), (4, 3), (4,)),
    ("{f}.linear({x}, {y})", (3,), (2, 3), ()),
    ("={f}.max_pool1d({x}, 2)", (1, 2, 5), (), ()),
    ("{f}.max_pool2d({x}, 2, stride=1, padding=1)", (1, 2, 3, 3), (), ()),
    ("{f}.max_pool2d({x}, 2, ceil_mode=True)", (1, 2, 3, 3), (), ()),
    ("{f}.max_pool2d({x}, 2, return_indices=True)[1]", (1, 1, 4, 4), (), ()),
    ("{f}.max_pool3d({x}, 2)", (1, 1, 2, 4, 4), (), ()),
    ("{f}.avg_pool1d({x}, 2, padding=1)", (1, 2, 5), (), ()),
    ("{f}.avg_pool2d({x}, 2, stride=1, padding=1, count_include_pad=False)", (1, 2, 3, 3), (), ()),
    ("{f}.avg_pool2d({x}, (2, 1), ceil_mode=True)", (1, 2, 3, 3), (), ()),
    ("{f}.avg_pool3d({x}, 2)", (1, 1, 2, 4, 2), (), ()),
    ("{f}.adaptive_avg_pool1d({x}, 2)", (1, 2, 5), (), ()),
    ("{f}.adaptive_avg_pool2d({x}, (2, 3))", (1, 2, 3, 4), (), ()),
    ("{f}.adaptive_max_pool2d({x}, 2)", (1, 2, 3, 4), (), ()),
    ("{f}.lp_pool1d({x}.abs() + 0.5, 2, 2)", (1, 2, 4), (), ()),
    ("{f}.unfold({x}, 2, padding=1)", (1, 2, 3, 3), (), ()),
    ("{f}.fold({x}, (3, 3), 2)", (1, 4, 4), (), ()),
    ("{f}.layer_norm({x}, (3,), {y}, {z})", (2, 2, 3), (3,), (3,)),
    ("{f}.layer_norm({x}, (2, 3))", (2, 2, 3), (), ()),
    ("~{f}.rms_norm({x}, (3,), {y})", (2, 3), (3,), ()),
    ("~{f}.group_norm({x}, 2, {y}, {z})", (2, 4, 3), (4,), (4,)),
    ("{f}.batch_norm({x}, None, None, {y}, {z}, training=True)", (3, 2, 2), (2,), (2,)),
    ("{f}.batch_norm({x}, {y}.detach(), {z}.detach().abs() + 0.5)", (3, 2), (2,), (2,)),
    ("{f}.instance_norm({x})", (2, 2, 4), (), ()),
    ("={f}.local_response_norm({x}, 2)", (1, 3, 4), (), ()),
    ("~{f}.scaled_dot_product_attention({x}, {y}, {y})", (2, 3, 2), (2, 4, 2), ()),
    ("~{f}.scaled_dot_product_attention({x}, {x}, {y}, is_causal=True)", (1, 3, 2), (1, 3, 4), ()),
    ("~{f}.scaled_dot_product_attention({x}, {y}, {y}, {z})", (1, 2, 2), (1, 3, 2), (2, 3)),
    ("{f}.interpolate({x}, 5)", (1, 2, 3), (), ()),
    ("{f}.interpolate({x}, scale_factor=2, mode='linear')", (1, 2, 3), (), ()),
    ("{f}.interpolate({x}, (4, 5), mode='bilinear')", (1, 1, 3, 3), (), ()),
    ("{f}.interpolate({x}, (5, 4), mode='bilinear', align_corners=True)", (1, 1, 3, 3), (), ()),
    ("{f}.interpolate({x}, (4, 4), mode='bicubic')", (1, 1, 3, 3), (), ()),
    ("{f}.interpolate({x}, (2, 4), mode='area')", (1, 1, 3, 4), (), ()),
    ("{f}.interpolate({x}, (5, 2), mode='nearest-exact')", (1, 1, 3, 4), (), ()),
    ("{f}.interpolate({x}, 3, mode='trilinear')", (1, 1, 2, 2, 2), (), ()),
    ("{f}.grid_sample({x}, {y}.tanh() * 0.8 + 0.03, align_corners=False)",
     (1, 2, 3, 3), (1, 2, 2, 2), ()),
    ("{f}.grid_sample({x}, {y}.tanh() * 0.8 + 0.03, mode='bicubic', padding_mode='border', "
     "align_corners=True)", (1, 1, 3, 3), (1, 2, 2, 2), ()),
    ("{f}.affine_grid({x}, (1, 1, 2, 3), align_corners=False)", (1, 2, 3), (), ()),
    ("{f}.embedding(torch.tensor([[0, 2], [1, 1]]), {x})", (3, 2), (), ()),
    ("{f}.embedding(torch.tensor([0, 2, 0]), {x}, padding_idx=0)", (3, 2), (), ()),
    ("{f}.embedding_bag(torch.tensor([[0, 2], [1, 1]]), {x})", (3, 2), (), ()),
    ("{f}.embedding_bag(torch.tensor([0, 2, 1]), {x}, torch.tensor([0, 1]), mode='sum')",
     (3, 2), (), ()),
    ("{f}.embedding_bag(torch.tensor([[0, 2], [1, 1]]), {x}, mode='max')", (3, 2), (), ()),
    ("{f}.pad({x}, (1, 2), mode='reflect')", (1, 2, 4), (), ()),
    ("{f}.pad({x}, (1, 0, 2, 1), mode='replicate')", (1, 1, 3, 3), (), ()),
    ("~{f}.pad({x}, (1, 2), mode='circular')", (1, 2, 4), (), ()),
    ("{f}.pad({x}, (-1, 2, 0, 1), value=0.5)", (2, 3), (), ()),
    ("{f}.pixel_shuffle({x}, 2)", (1, 4, 2, 2), (), ()),
    ("{f}.pixel_unshuffle({x}, 2)", (1, 1, 4, 4), (), ()),
    ("{f}.channel_shuffle({x}, 2)", (1, 4, 2, 1), (), ()),
    ("{f}.normalize({x}.abs() + 0.5, dim=0)", (2, 3), (), ()),
    ("{f}.prelu({x} + 0.01, {y})", (2, 3), (3,), ()),
    ("~torch.gru_cell({x}, {y}[:2, :2], {z}, {z}[:, :2])", (2, 3), (2, 2), (6, 3)),
    ("~torch.lstm_cell({x}, ({y}, {y}), {z}, {z}[:, :1])[0]", (2, 3), (2, 1), (4, 3)),
    ("~torch.rnn_tanh_cell({x}, {y}, {z}, {z}[:, :2])", (2, 3), (2, 2), (2, 3)),
)


@family(12)
def layer(w: Writer) -> str | None:
    form, first, second, third = w.choice(LAYERS)
    name, x = w.material(first, complex_too=False)
    if name is None or ("max" in form and not w.is_ordered_expression(x)):
        return None
    if "attention" in form and not w.is_bounded_expression(x, 8.0):
        return None  # logarithms of sums as large as 1000 round weights to four digits
    if "grid_sample" in form and w.value(name).dtype.itemsize == 2:
        return None  # PyTorch rounds the positions to half precision on the way
    if "_norm(" in form:
        x = varied(w, x, first)
    y, z = w.material(second, like=name)[1], w.material(third, like=name)[1]
    operands = [w.evaluate(x), w.evaluate(y)]
    if "conv" in form and not all(t is not None and is_row_major(t) for t in operands):
        form = f"={form}"  # PyTorch puts the channels of the result side by side
    if form.startswith("~"):
        x, y, z = f"{x} + 0", f"{y} + 0", f"{z} + 0"
    text = form.format(f="torch.nn.functional", x=f"({x})", y=f"({y})", z=f"({z})")
    return f"{w.fresh()} = {by_steps(text)}"


def varied(w: Writer, x: str, shape: tuple[int, ...]) -> str:
    """The expression if its elements differ, else one whose do.

    To normalize equal numbers divides the rounding error of their mean by eps: PyTorch's running
    mean makes none then, taper's sum does.
    """
    if w.are_apart_expression(x):
        return x
    steps = f"torch.arange({math.prod(shape)}).reshape({shape}) * 1.5"
    return f"(({x}).sin() + {steps}).to(({x}).dtype)"


# {x} and {y} are (3, 4), {u} is between 0.1 and 0.9, {c} three classes out of 4, {s} are signs.
LOSSES = (
    "mse_loss({x}, {y}{r})", "l1_loss({x}, {y} + 0.01{r})", "smooth_l1_loss({x}, {y}{r}, beta=0.7)",
    "huber_loss({x}, {y}{r}, delta=0.6)", "cross_entropy({x}, {c}{r})",
    "cross_entropy({x}, {c}{r}, label_smoothing=0.1)", "cross_entropy({x}, {c}{r}, ignore_index=1)",
    "cross_entropy({x}, {c}, torch.tensor([1.0, 2.0, 0.5, 1.5], dtype={x}.dtype){r})",
    "cross_entropy({x}, {u}{r})", "nll_loss({x}.log_softmax(1), {c}{r})",
    "nll_loss({x}, {c}, torch.tensor([1.0, 2.0, 0.5, 1.5], dtype={x}.dtype){r})",
    "cross_entropy({x}.unsqueeze(0).transpose(1, 2), {c}.unsqueeze(0){r})",
    "binary_cross_entropy({u}, {v}{r})", "binary_cross_entropy_with_logits({x}, {u}{r})",
    "binary_cross_entropy_with_logits({x}, {u}, pos_weight=torch.tensor(2.0, dtype={x}.dtype){r})",
    "kl_div({x}.log_softmax(1), {u}, reduction='batchmean')",
    "kl_div({x}.log_softmax(1), {u}.log(), log_target=True, reduction='sum')",
    "poisson_nll_loss({x} * 0.25, {u}{r})", "gaussian_nll_loss({x}, {y}, {u}{r})",
    "soft_margin_loss({x}, {s}{r})", "hinge_embedding_loss({x} + 0.01, {s}{r})",
    "margin_ranking_loss({x}, {y}, {s}, margin=0.51{r})",
    "cosine_embedding_loss({x} + 3, {y} + 3, {s}[:, 0], margin=0.1{r})",
    "triplet_margin_loss({x}, {y} + 0.3, {u}{r})", "multi_margin_loss({x} + 0.01, {c}{r})",
    "multi_margin_loss({x}, {c}, p=2{r})",
    "multilabel_margin_loss({x}, torch.tensor([[0, 2, -1, 1]] * 3){r})",
    "multilabel_soft_margin_loss({x}, {u}{r})",
    "ctc_loss({x}.log_softmax(1).unsqueeze(1), torch.tensor([[1, 2]]), [3], [2]{r})",
)


@family(8)
def loss(w: Writer) -> str | None:
    name, x = w.material((3, 4), complex_too=False)
    if name is None:
        return None
    y = w.material((3, 4), like=name)[1]
    classes = [w.random.randint(0, 3) for _ in range(3)]
    signs = [[w.choice([-1, 1]) for _ in range(4)] for _ in range(3)]
    form = w.choice(LOSSES)
    # Corners of what is straight in parts.
    is_straight = any(word in form for word in ("l1", "huber", "hinge", "margin"))
    if is_straight and not (w.is_settled_expression(x) and w.is_settled_expression(y)):
        return None
    text = form.format(
        x=f"({x} + 0)", y=f"({y} + 0)", u=f"(({x}).sigmoid() * 0.8 + 0.1)",
        v=f"(({y}).sigmoid() * 0.8 + 0.1)", c=f"torch.tensor({classes})",
        s=f"torch.tensor({signs}, dtype=({x}).dtype)",
        r=w.choice(["", ", reduction='sum'", ", reduction='none'"]),
    )
    return f"{w.fresh()} = {by_steps('~torch.nn.functional.' + text)}"


MODULES = (
    ("torch.nn.Linear(3, 2)", (2, 3)),
    ("torch.nn.Linear(3, 2, bias=False)", (2, 2, 3)),
    ("torch.nn.Conv1d(2, 2, 2)", (1, 2, 4)),
    ("torch.nn.Conv2d(1, 2, 2, padding=1)", (1, 1, 3, 3)),
    ("torch.nn.ConvTranspose1d(2, 1, 2, stride=2)", (1, 2, 3)),
    ("torch.nn.BatchNorm1d(3)", (4, 3)),
    ("torch.nn.BatchNorm2d(2)", (2, 2, 2, 2)),
    ("torch.nn.BatchNorm1d(3).eval()", (4, 3)),
    ("torch.nn.LayerNorm(3)", (2, 3)),
    ("torch.nn.GroupNorm(2, 4)", (2, 4, 2)),
    ("torch.nn.InstanceNorm1d(2, affine=True)", (2, 2, 4)),
    ("torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))", (2, 3)),
    ("torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Dropout(0.5))", (2, 3)),
    ("torch.nn.RNN(2, 3)", (3, 1, 2)),
    ("torch.nn.LSTM(2, 2, batch_first=True, bidirectional=True)", (2, 3, 2)),
    ("torch.nn.GRU(2, 2, num_layers=2)", (3, 1, 2)),
    ("torch.nn.LSTMCell(3, 2)", (2, 3)),
    ("torch.nn.GRUCell(3, 2)", (2, 3)),
    ("torch.nn.TransformerEncoderLayer(4, 2, 4, dropout=0.0, batch_first=True)", (1, 3, 4)),
    ("torch.nn.Bilinear(2, 2, 3)", (3, 2)),
    ("torch.nn.PReLU()", (2, 3)),
    ("torch.nn.Softmax(dim=1)", (2, 3)),
    ("torch.nn.MaxPool2d(2)", (1, 1, 4, 4)),
    ("torch.nn.AdaptiveAvgPool2d(2)", (1, 1, 3, 4)),
    ("torch.nn.Upsample(scale_factor=2)", (1, 1, 2, 2)),
    ("torch.nn.Flatten()", (2, 2, 3)),
    ("torch.nn.RMSNorm(3)", (2, 3)),
    ("torch.nn.EmbeddingBag(4, 3)", None),
    ("torch.nn.Embedding(4, 3, padding_idx=1)", None),
)


@family(8)
def module(w: Writer) -> str | None:
    """A small network, its output, and the gradient of a parameter."""
    made, shape = w.choice(MODULES)
    if shape is None:
        given = f"torch.tensor({[[w.random.randint(0, 3) for _ in range(2)] for _ in range(2)]})"
    else:
        name, x = w.material(shape, complex_too=False)
        if name is None or ("ReLU" in made and not w.is_settled_expression(x)) or (
            "MaxPool" in made and not w.is_ordered_expression(x)
        ):
            return None
        given = f"({varied(w, x, shape) if 'Norm' in made else x}).float() * 1"
    double = "Bilinear" in made
    result, scale = w.fresh(), w.choice(["", " * 0.5", " + 1"])
    text = f"net({given}, {given})" if double else f"net({given})"
    lines = [
        f"torch.manual_seed({w.random.randint(0, 99)})",
        f"net = {made}",
        f"{result} = {text}",
        f"{result} = {result} if isinstance({result}, torch.Tensor) else {result}[0]",
        f"{result} = {by_steps('~' + result + scale)}",
    ]
    if w.chance(0.5):
        lines += [
            "for p in list(net.parameters())[:1]:",
            f"    {result}.sum().backward(retain_graph=True)",
            f"    {w.fresh()} = p.grad + 0",
            "p = None",  # which parameters a step of several keeps is open: nobody changes them
        ]
    return "\n".join(lines)
