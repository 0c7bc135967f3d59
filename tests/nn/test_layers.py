"""Layers: PyTorch's text, keys, values and gradients, from a PyTorch state dict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from tests.ops.test_functions import close

torch = pytest.importorskip("torch")

SIGNAL = (4, 6, 9)
IMAGE = (4, 6, 8, 7)


@dataclass(frozen=True)
class Layer:
    """How a module is made of either `nn`, and the shapes of its inputs."""

    make: Callable[[Any], Any]
    shapes: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return f"{self.make(torch.nn)}-{self.shapes}".replace("\n", "")


def layer(make: Callable[[Any], Any], *shapes: tuple[int, ...]) -> Layer:
    return Layer(make, shapes)


LAYERS = [
    layer(lambda n: n.Conv1d(6, 4, 3, padding=1, stride=2), SIGNAL),
    layer(lambda n: n.Conv1d(6, 4, 4, padding="same", dilation=2, groups=2, bias=False), SIGNAL),
    layer(lambda n: n.Conv1d(6, 4, 3, padding=2, padding_mode="reflect"), SIGNAL),
    layer(lambda n: n.Conv1d(6, 4, 3), SIGNAL[1:]),
    layer(lambda n: n.Conv2d(6, 4, (4, 3), padding="same", padding_mode="circular"), IMAGE),
    layer(lambda n: n.Conv2d(6, 4, 2, padding="same"), IMAGE),
    layer(lambda n: n.Conv2d(6, 4, 3, padding=(1, 2), padding_mode="replicate"), IMAGE),
    layer(lambda n: n.Conv2d(6, 4, 3), IMAGE[1:]),
    layer(lambda n: n.ConvTranspose1d(6, 4, 3, 2, 1, 1), SIGNAL),
    layer(lambda n: n.ConvTranspose2d(6, 4, 3), IMAGE),
    layer(lambda n: n.ConvTranspose2d(6, 4, (3, 2), (2, 3), (1, 0), (1, 2), 2, False, 2), IMAGE),
    layer(lambda n: n.ConvTranspose2d(6, 4, 2, stride=2, padding=1), IMAGE),
    layer(lambda n: n.ConvTranspose2d(6, 6, 1, padding=1, groups=6), IMAGE),
    layer(lambda n: n.MaxPool1d(3, 2, 1), SIGNAL),
    layer(lambda n: n.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    layer(lambda n: n.MaxPool2d((2, 3)), IMAGE[1:]),
    layer(lambda n: n.AvgPool1d(3, 2, 1), SIGNAL),
    layer(lambda n: n.AvgPool1d(2, ceil_mode=True), SIGNAL),
    layer(lambda n: n.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    layer(lambda n: n.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    layer(lambda n: n.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    layer(lambda n: n.AvgPool2d(3, divisor_override=5), IMAGE),
    layer(lambda n: n.AdaptiveAvgPool1d(3), SIGNAL),
    layer(lambda n: n.AdaptiveAvgPool1d(4), SIGNAL),
    layer(lambda n: n.AdaptiveAvgPool2d((3, None)), IMAGE),
    layer(lambda n: n.AdaptiveAvgPool2d((10, 3)), IMAGE),
    layer(lambda n: n.AdaptiveMaxPool1d(3), SIGNAL),
    layer(lambda n: n.AdaptiveMaxPool2d((4, 7)), IMAGE),
    layer(lambda n: n.ConstantPad1d((1, 2), 3.5), SIGNAL),
    layer(lambda n: n.ConstantPad2d((-1, 2, 0, -2), 1.5), IMAGE),
    layer(lambda n: n.ZeroPad2d(1), IMAGE),
    layer(lambda n: n.ReflectionPad1d((3, 1)), SIGNAL),
    layer(lambda n: n.ReflectionPad2d(2), IMAGE),
    layer(lambda n: n.ReplicationPad1d((3, 0)), SIGNAL),
    layer(lambda n: n.ReplicationPad2d((1, 2, 3, 4)), IMAGE),
    layer(lambda n: n.CircularPad1d((9, 2)), SIGNAL),
    layer(lambda n: n.CircularPad2d(1), IMAGE),
    layer(lambda n: n.Upsample(scale_factor=2), IMAGE),
    layer(lambda n: n.Upsample(scale_factor=2), SIGNAL),
    layer(lambda n: n.Upsample(size=(5, 11)), IMAGE),
    layer(lambda n: n.Upsample(scale_factor=1.7, mode="nearest"), IMAGE),
    layer(lambda n: n.Upsample(size=(5, 11), mode="nearest-exact"), IMAGE),
    layer(lambda n: n.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    layer(lambda n: n.Upsample(size=(5, 11), mode="bilinear", align_corners=True), IMAGE),
    layer(lambda n: n.Upsample(scale_factor=(1.3, 0.6), mode="bilinear"), IMAGE),
    layer(
        lambda n: n.Upsample(scale_factor=(1.3, 0.6), mode="bilinear", recompute_scale_factor=True),
        IMAGE,
    ),
    layer(lambda n: n.Upsample(scale_factor=3, mode="linear"), SIGNAL),
    layer(lambda n: n.Upsample(size=(12, 5), mode="bicubic"), IMAGE),
    layer(lambda n: n.Upsample(size=(12, 5), mode="bicubic", align_corners=True), IMAGE),
    layer(lambda n: n.Upsample(size=3, mode="trilinear"), (2, 2, 4, 5, 6)),
    layer(lambda n: n.Upsample(size=(3, 2), mode="area"), IMAGE),
    layer(lambda n: n.PixelShuffle(2), (2, 8, 3, 4)),
    layer(lambda n: n.PixelUnshuffle(2), (2, 3, 4, 6)),
    layer(lambda n: n.ChannelShuffle(3), IMAGE),
    layer(lambda n: n.BatchNorm1d(6), SIGNAL),
    layer(lambda n: n.BatchNorm1d(6), (8, 6)),
    layer(lambda n: n.BatchNorm2d(6, track_running_stats=False), IMAGE),
    layer(lambda n: n.BatchNorm3d(6), (2, 6, 2, 3, 4)),
    layer(lambda n: n.InstanceNorm1d(6), SIGNAL),
    layer(lambda n: n.InstanceNorm2d(6, affine=True, track_running_stats=True), IMAGE),
    layer(lambda n: n.InstanceNorm2d(6), IMAGE[1:]),
    layer(lambda n: n.LayerNorm(7), IMAGE),
    layer(lambda n: n.LayerNorm((8, 7), bias=False), IMAGE),
    layer(lambda n: n.LayerNorm([7], 1e-3, elementwise_affine=False), IMAGE),
    layer(lambda n: n.RMSNorm(7), IMAGE),
    layer(lambda n: n.RMSNorm((8, 7), eps=0.1, elementwise_affine=False), IMAGE),
    layer(lambda n: n.GroupNorm(3, 6), IMAGE),
    layer(lambda n: n.GroupNorm(1, 6, affine=False), (4, 6)),
    layer(lambda n: n.LocalResponseNorm(3), IMAGE),
    layer(lambda n: n.LocalResponseNorm(4, 0.1, 0.5, 2.0), IMAGE),
    layer(lambda n: n.Bilinear(3, 4, 5), (2, 6, 3), (2, 6, 4)),
    layer(lambda n: n.Bilinear(3, 4, 5, bias=False), (6, 3), (6, 4)),
    layer(lambda n: n.Unflatten(1, (2, -1)), IMAGE),
    layer(lambda n: n.Flatten(-2), IMAGE),
    layer(lambda n: n.RNN(5, 4), (3, 2, 5)),
    layer(lambda n: n.RNN(5, 4, 2, "relu", batch_first=True, bidirectional=True), (2, 3, 5)),
    layer(lambda n: n.GRU(5, 4, 2, bias=False), (3, 2, 5)),
    layer(lambda n: n.GRU(5, 4, bidirectional=True), (3, 5)),
    layer(lambda n: n.LSTM(5, 4, 2, batch_first=True, bidirectional=True), (2, 3, 5)),
    layer(lambda n: n.LSTM(5, 4, proj_size=2, num_layers=2), (3, 2, 5)),
    layer(lambda n: n.RNNCell(5, 4), (3, 5), (3, 4)),
    layer(lambda n: n.RNNCell(5, 4, nonlinearity="relu", bias=False), (3, 5), (3, 4)),
    layer(lambda n: n.GRUCell(5, 4), (5,), (4,)),
    layer(lambda n: n.GRUCell(5, 4), (3, 5)),
    layer(lambda n: n.LSTMCell(5, 4), (3, 5)),
    layer(lambda n: n.TransformerEncoderLayer(8, 2, 12, dropout=0.0), (3, 2, 8)),
    layer(
        lambda n: n.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=True),
        (2, 3, 8),
    ),
    layer(
        lambda n: n.TransformerEncoder(
            n.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), 2, n.LayerNorm(8)
        ),
        (2, 3, 8),
    ),
    layer(lambda n: n.TransformerDecoderLayer(8, 2, 12, 0.0), (3, 2, 8), (4, 2, 8)),
    layer(
        lambda n: n.TransformerDecoder(
            n.TransformerDecoderLayer(8, 2, 12, 0.0, norm_first=True, bias=False), 2
        ),
        (3, 2, 8),
        (4, 2, 8),
    ),
    layer(lambda n: n.Transformer(8, 2, 1, 2, 12, 0.0, batch_first=True), (2, 3, 8), (2, 4, 8)),
    layer(lambda n: n.Unfold((2, 3), dilation=(2, 1), padding=1, stride=(1, 2)), IMAGE),
    layer(lambda n: n.Unfold(2), IMAGE[1:]),
    layer(lambda n: n.ReLU6(), IMAGE),
    layer(lambda n: n.PReLU(), IMAGE),
    layer(lambda n: n.PReLU(6), IMAGE),
    layer(lambda n: n.Softsign(), IMAGE),
    layer(lambda n: n.Tanhshrink(), IMAGE),
    layer(lambda n: n.Hardshrink(0.3), IMAGE),
    layer(lambda n: n.Softshrink(), IMAGE),
    layer(lambda n: n.Threshold(0.1, 20), IMAGE),
    layer(lambda n: n.GLU(1), IMAGE),
    layer(lambda n: n.Softmin(dim=1), IMAGE),
    layer(lambda n: n.Softmax2d(), IMAGE),
    layer(lambda n: n.MultiheadAttention(8, 2), (3, 2, 8), (4, 2, 8), (4, 2, 8)),
    layer(
        lambda n: n.MultiheadAttention(
            8, 2, kdim=5, vdim=6, add_bias_kv=True, add_zero_attn=True, batch_first=True
        ),
        (2, 3, 8),
        (2, 4, 5),
        (2, 4, 6),
    ),
]


def arrays_of(shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def leaves(value: Any) -> list[Any]:
    """The tensors of a result, in order."""
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [value]


class Inputs(nn.Module):
    """A layer and its inputs as parameters, so that a step has gradients for both."""

    def __init__(self, module: nn.Module, arrays: list[np.ndarray]) -> None:
        super().__init__()
        self.layer = module
        self.inputs = nn.ParameterList(arrays)


def pair_of(layer: Layer) -> tuple[nn.Module, Any]:
    """Both modules with PyTorch's parameters, none of which is at a special value."""
    torch.manual_seed(0)
    theirs, ours = layer.make(torch.nn), layer.make(nn)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    keys = ours.load_state_dict(theirs.state_dict())
    assert keys.missing_keys == [] and keys.unexpected_keys == []
    return ours, theirs


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_as_torch(layer: Layer) -> None:
    ours, theirs = pair_of(layer)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    theirs = theirs.double()
    arrays = arrays_of(layer.shapes)
    xs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    values = leaves(theirs(*xs))
    random = np.random.default_rng(8)
    weights = [random.standard_normal(tuple(v.shape)) for v in values]
    sum((v * torch.tensor(w)).sum() for v, w in zip(values, weights, strict=True)).backward()

    at_once = leaves(ours(*(flow.tensor(a) for a in arrays)))
    for mine, value in zip(at_once, values, strict=True):
        close(mine.numpy(), value.detach().numpy())
    for key, value in theirs.state_dict().items():
        if "running" in key:
            np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5)

    model = Inputs(ours, arrays)

    def loss(*weights: flow.Tensor) -> flow.Tensor:
        results = leaves(model.layer(*model.inputs))
        parts = [(v * w).sum() for v, w in zip(results, weights, strict=True)]
        return sum(parts[1:], parts[0])

    step = flow.value_and_grad(loss, model=model, mesh=flow.mesh("cpu", dp=1))
    _, grads = step.interpret(*(w.astype(np.float32) for w in weights))
    # What is zero in theory (a bias before a normalisation) is judged beside the other gradients.
    scale = max(float(x.grad.abs().max()) for x in xs)
    for i, x in enumerate(xs):
        near(grads[f"inputs.{i}"].numpy(), x.grad.numpy(), scale)
    for name, parameter in theirs.named_parameters():
        near(grads[f"layer.{name}"].numpy(), parameter.grad.numpy(), scale)


def near(ours: np.ndarray, theirs: np.ndarray, scale: float) -> None:
    assert ours.shape == theirs.shape
    allowed = 2e-5 * max(float(np.abs(theirs).max(initial=0)), scale, 1e-3)
    assert np.abs(ours - theirs).max(initial=0) <= allowed


def test_rnn_states() -> None:
    random = np.random.default_rng(3)
    x, h, c = (
        random.standard_normal(s).astype(np.float32) for s in ((5, 2, 3), (4, 2, 6), (4, 2, 6))
    )
    ours, theirs = pair_of(layer(lambda n: n.LSTM(3, 6, 2, bidirectional=True)))
    mine = leaves(ours(flow.tensor(x), (flow.tensor(h), flow.tensor(c))))
    for value, expected in zip(
        mine,
        leaves(theirs(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))),
        strict=True,
    ):
        close(value.numpy(), expected.detach().numpy())
    with pytest.raises(flow.ShapeError, match="initial state"):
        ours(flow.tensor(x), (flow.tensor(h[:2]), flow.tensor(c)))
    with pytest.raises(flow.ShapeError, match="3 features"):
        ours(flow.ones(5, 2, 4))


MASKS = {
    "bool": np.array([[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool),
    "float": np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32),
    "-inf": np.where(np.tri(3, 4) > 0, 0, -np.inf).astype(np.float32),
    "heads": np.random.default_rng(2).random((4, 3, 4)) < 0.3,
}
PADDING = np.array([[False, False, True, True], [False, True, False, False]])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_attention_masks(mask: str, padding: bool, average: bool) -> None:
    ours, theirs = pair_of(
        layer(lambda n: n.MultiheadAttention(8, 2, add_zero_attn=True, batch_first=True))
    )
    random = np.random.default_rng(4)
    q, k = (random.standard_normal(s).astype(np.float32) for s in ((2, 3, 8), (2, 4, 8)))

    def run(lib: Any, module: Any) -> list[Any]:
        attn_mask = lib.tensor(MASKS[mask])
        pad = lib.tensor(PADDING) if padding else None
        if padding and attn_mask.dtype != pad.dtype:
            pad = lib.tensor(np.where(PADDING, -np.inf, 0.0).astype(np.float32))
        keys = lib.tensor(k)
        return list(
            module(
                lib.tensor(q),
                keys,
                keys,
                key_padding_mask=pad,
                attn_mask=attn_mask,
                average_attn_weights=average,
            )
        )

    for value, expected in zip(run(flow, ours), run(torch, theirs), strict=True):
        close(value.numpy(), expected.detach().numpy())


def test_mixed_masks_and_need_weights() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = flow.randn(2, 4, 8)
    only, weights = attention(x, x, x, need_weights=False)
    assert weights is None and only.shape == (2, 4, 8)
    mixed, _ = attention(
        x, x, x, flow.tensor(PADDING), attn_mask=flow.tensor(np.zeros((4, 4), np.float32))
    )
    plain, _ = attention(x, x, x, flow.tensor(PADDING))
    close(mixed.numpy(), plain.numpy())
    with pytest.raises(flow.Error, match="hint"):
        attention(x, x, x, is_causal=True)
    with pytest.raises(flow.ShapeError, match="attn_mask"):
        attention(x, x, x, attn_mask=flow.ones(3, 3))


def test_embedding_text_and_first_values() -> None:
    flow.manual_seed(0)
    for make in (
        lambda n: n.Embedding(300, 40),
        lambda n: n.Embedding(300, 40, padding_idx=-1),
    ):
        ours, theirs = make(nn), make(torch.nn)
        assert repr(ours) == repr(theirs)
        value, expected = ours.weight.numpy(), theirs.weight.detach().numpy()
        np.testing.assert_allclose(value.std(), expected.std(), rtol=0.03)
        assert (value[-1] == 0).all() == (expected[-1] == 0).all()
    frozen = nn.Embedding.from_pretrained(flow.ones(3, 2))
    assert not frozen.weight.requires_grad and frozen.weight.tolist() == [[1, 1]] * 3
    for wrong in ({"max_norm": 1.0}, {"sparse": True}, {"scale_grad_by_freq": True}):
        with pytest.raises(flow.Error, match="not supported"):
            nn.Embedding(3, 2, **wrong)
    with pytest.raises(flow.ShapeError, match="no row"):
        nn.Embedding(3, 2, padding_idx=3)


def test_channel_dropout() -> None:
    flow.manual_seed(1)
    for module, shape in (
        (nn.Dropout1d(0.5), (50, 8, 3)),
        (nn.Dropout2d(0.5), (50, 8, 3, 2)),
        (nn.Dropout3d(0.5), (50, 8, 3, 2, 2)),
    ):
        y = module(flow.ones(*shape)).numpy().reshape(*shape[:2], -1)
        assert (y == y[..., :1]).all() and set(np.unique(y)) == {0, 2}
        assert abs((y == 0).mean() - 0.5) < 0.1
        assert module.eval()(flow.ones(*shape)).numpy().min() == 1
    assert repr(nn.Dropout2d(0.2)) == repr(torch.nn.Dropout2d(0.2))
    with pytest.raises(flow.ShapeError, match="dropout2d"):
        nn.Dropout2d()(flow.ones(2, 2))


def test_sync_batch_norm_takes_over_parameters() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(4)))
    weight = model[1].weight
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model.eval())
    assert converted is model and type(model[1]) is type(model[2][0]) is nn.SyncBatchNorm
    assert model[1].weight is weight and not model[1].training
    x = flow.randn(2, 4, 3, 3)
    close(model[1](x).numpy(), nn.BatchNorm2d(4).eval()(x).numpy())
    with pytest.raises(flow.Error, match="mesh"):
        nn.SyncBatchNorm(4, process_group=object())
    with pytest.raises(flow.ShapeError, match=r"\[n, c, h, w\]"):
        nn.BatchNorm2d(4)(flow.ones(2, 4))
    with pytest.raises(flow.Error, match="momentum=None"):
        nn.BatchNorm2d(4, momentum=None)(x)


@pytest.mark.parametrize("layout", [{"dp": 1}, {"dp": 2}, {"dp": 2, "accumulate": 2}], ids=str)
def test_batch_norm_of_a_mean_beyond_its_deviation(layout: dict[str, int]) -> None:
    """In one pass over x, from the first step: no square of a mean of 1,000 deviations hides the variance."""
    accumulate = layout.get("accumulate", 1)
    x = (np.random.default_rng(5).standard_normal((8, 3, 6, 5)) + 1000).astype(np.float32)
    theirs = torch.nn.BatchNorm2d(3).double().train()
    parts = torch.from_numpy(x).double().chunk(accumulate)
    expected = torch.cat([theirs(part) for part in parts]).square().mean()

    model = nn.BatchNorm2d(3).train()
    step = flow.train_step(
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.0),
        mesh=flow.mesh("cpu", dp=layout["dp"]),
        accumulate=accumulate,
    )(lambda x: {"loss": model(x).square().mean()})
    loss = float(step(x)["loss"])
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    close(model.running_mean.numpy(), theirs.running_mean.numpy())
    np.testing.assert_allclose(
        model.running_var.numpy(), theirs.running_var.numpy(), rtol=1e-4, atol=0
    )


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.MaxPool2d(2, dilation=2)(flow.ones(1, 1, 4, 4)), "dilation"),
    (lambda: nn.MaxPool2d(2, return_indices=True)(flow.ones(1, 1, 4, 4)), "return_indices"),
    (lambda: nn.AdaptiveMaxPool2d(0)(flow.ones(1, 1, 4, 4)), "no numbers of windows"),
    (lambda: nn.ReflectionPad1d(4)(flow.ones(1, 1, 4)), "at most 3"),
    (lambda: nn.Conv2d(4, 4, 3, groups=3), "groups=3"),
    (lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"), "padding_mode"),
    (lambda: nn.Conv2d(4, 4, 3)(flow.ones(1, 3, 4, 4)), "3 channels"),
    (lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), "zeros"),
    (lambda: nn.ConvTranspose2d(4, 4, 3, output_padding=1)(flow.ones(1, 4, 4, 4)), "smaller"),
    (lambda: nn.Upsample(scale_factor=2)(flow.ones(2, 2)), "does not take"),
    (lambda: nn.functional.interpolate(flow.ones(1, 1, 2), 2, antialias=True), "antialias"),
    (lambda: nn.functional.interpolate(flow.ones(1, 1, 2)), "either"),
    (lambda: nn.PixelShuffle(2)(flow.ones(1, 6, 2, 2)), "pixel_shuffle"),
    (lambda: nn.GroupNorm(3, 4), "must divide"),
    (lambda: nn.LayerNorm(4)(flow.ones(2, 3)), "does not end in"),
    (lambda: nn.InstanceNorm1d(2)(flow.ones(1, 2, 1)), "no variance"),
    (lambda: nn.Unflatten(1, (2, 2))(flow.ones(2, 5)), "does not become"),
    (lambda: nn.RNN(2, 2, nonlinearity="gelu"), "nonlinearity"),
    (lambda: nn.MultiheadAttention(5, 2), "must divide"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(flow.Error, match=text):
        call()


def test_output_size_of_a_transpose() -> None:
    ours, theirs = pair_of(layer(lambda n: n.ConvTranspose2d(2, 3, 3, stride=2, padding=1)))
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 5)).astype(np.float32)
    for size in ((8, 9), (7, 10)):
        close(ours(flow.tensor(x), size).numpy(), theirs(torch.tensor(x), size).detach().numpy())
    with pytest.raises(flow.ShapeError, match="does not lie"):
        ours(flow.tensor(x), (9, 9))


SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda n: n.LSTM(8, 6, 2, batch_first=True),
    "gru": lambda n: n.GRU(8, 6, bidirectional=True, batch_first=True),
    "encoder": lambda n: n.TransformerEncoder(
        n.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), 2
    ),
    "conv": lambda n: n.Sequential(
        n.Conv1d(4, 6, 3, padding=1, padding_mode="replicate"),
        n.GroupNorm(2, 6),
        n.ConvTranspose1d(6, 4, 2, 2),
        n.Upsample(scale_factor=2),
        n.InstanceNorm1d(4),
        n.AvgPool1d(3, 2, 1, count_include_pad=False),
        n.AdaptiveAvgPool1d(3),
    ),
}
CUTS: list[tuple[dict[str, int], int]] = [
    ({"dp": 2}, 1),
    ({"dp": 2}, 2),
    ({"tp": 2}, 1),
    ({"pp": 2}, 2),
]


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(("axes", "accumulate"), CUTS, ids=str)
def test_layouts(name: str, axes: dict[str, int], accumulate: int) -> None:
    ours, theirs = pair_of(layer(SEQUENCES[name]))
    theirs = theirs.double()
    x = np.random.default_rng(5).standard_normal((8, 4, 8)).astype(np.float32)
    (leaves(theirs(torch.tensor(x).double()))[0] ** 2).mean().backward()
    step = flow.value_and_grad(
        lambda x: (leaves(ours(x))[0] ** 2).mean(),
        model=ours,
        mesh=flow.mesh("cpu", threads=1, **axes),
        accumulate=accumulate,
    )
    _, grads = step(x)
    scale = max(float(p.grad.abs().max()) for p in theirs.parameters())
    for key, parameter in theirs.named_parameters():
        near(grads[key].numpy(), parameter.grad.numpy(), scale)


def test_subsequent_mask() -> None:
    ours, theirs = (
        np.asarray(n.Transformer.generate_square_subsequent_mask(4)) for n in (nn, torch.nn)
    )
    assert (ours == theirs).all()
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), 2)
    x = np.random.default_rng(0).standard_normal((1, 4, 8)).astype(np.float32)
    y = model(flow.tensor(x), flow.tensor(ours), is_causal=True).numpy()
    x[:, 3] += 1
    later = model(flow.tensor(x), flow.tensor(ours), is_causal=True).numpy()
    assert (later[:, :3] == y[:, :3]).all() and (later[:, 3] != y[:, 3]).any()
