"""nn.functional."""

from __future__ import annotations

from tests.conformance.entry import Call, D, Entry, T, call, entry

X = T()
DISTINCT = T(domain="distinct")
POSITIVE = T(domain="positive")
SHARE = T(domain="share")
SIGN = T(domain="sign", constant=True)
CHANNELS = T("c")
SIGNAL = T("b c l")
IMAGE = T("b c h w")
SIGNAL_DISTINCT = T("b c l", "distinct")
IMAGE_DISTINCT = T("b c h w", "distinct")
CLASSES = T("n", "index", "int64", 4)
LOGITS = T("n 4")

NAMES: list[Entry] = []
ACTIVATIONS: dict[str, tuple[Call, ...]] = {
    "relu": (call(X, special=True),),
    "relu6": (call(X, special=True),),
    "gelu": (call(X, special=True), call(X, only={"approximate": "tanh"})),
    "silu": (call(X, special=True),),
    "mish": (call(X, special=True),),
    "elu": (call(X, special=True), call(X, alpha=0.5)),
    "celu": (call(X, special=True), call(X, alpha=0.5)),
    "selu": (call(X, special=True),),
    "leaky_relu": (call(X, special=True), call(X, negative_slope=0.2)),
    "logsigmoid": (call(X, special=True, named=False),),
    "hardsigmoid": (call(X, special=True),),
    "hardswish": (call(X, special=True),),
    "hardtanh": (call(X, special=True), call(X, min_val=-0.5, max_val=0.25)),
    "hardshrink": (call(X, special=True, named=False), call(X, lambd=0.25, named=False)),
    "softshrink": (call(X, special=True, named=False), call(X, lambd=0.25, named=False)),
    "softplus": (call(X, special=True, named=False), call(X, beta=2, threshold=1, named=False)),
    "softsign": (call(X, special=True),),
    "tanhshrink": (call(X, special=True, least=1.0),),
    "tanh": (call(X, special=True),),
    "sigmoid": (call(X, special=True),),
    "threshold": (call(X, threshold=0.1, value=20.0, special=True, judged="torch"),),
}
for _name, _calls in ACTIVATIONS.items():
    NAMES.append(entry(f"F.{_name}", *_calls))
NAMES += [
    entry(
        "F.prelu", call(X, weight=T("1"), named=False), call(T("n c"), weight=CHANNELS, named=False)
    ),
    entry("F.glu", call(T("n 4")), call(T("4 n"), dim=D(0))),
    *(
        entry(
            f"F.{name}",
            call(X, dim=D(1)),
            call(T("b n k"), dim=D(0)),
            call(X, dim=D(1), dtype="dtype.float64"),
        )
        for name in ("softmax", "log_softmax")
    ),
    entry("F.softmin", call(X, dim=D(1)), call(T("b n k"), dim=D(0))),
    entry("F.normalize", call(X), call(X, p=1.0, dim=D(0)), call(X, p=3.0)),
    entry("F.cosine_similarity", call(x1=X, x2=X), call(x1=X, x2=X, dim=D(0))),
    entry(
        "F.pairwise_distance",
        call(x1=X, x2=X, judged="torch"),
        call(x1=X, x2=X, p=1.0, keepdim=True, judged="torch"),
    ),
    entry(
        "F.layer_norm",
        call(X, normalized_shape=(4,), extents={"k": 4}),
        call(T("n 4"), normalized_shape=(4,), weight=T("4"), bias=T("4")),
    ),
    entry(
        "F.rms_norm",
        call(T("n 4"), normalized_shape=(4,)),
        call(T("n 4"), normalized_shape=(4,), weight=T("4"), eps=1e-3),
    ),
    entry(
        "F.group_norm",
        call(T("b 4 l"), num_groups=2),
        call(T("b 4 h w"), num_groups=4, weight=T("4"), bias=T("4")),
    ),
    entry("F.instance_norm", call(SIGNAL), call(IMAGE)),
    entry(
        "F.batch_norm",
        call(
            T("b c l"),
            running_mean=CHANNELS,
            running_var=T("c", "positive"),
            weight=CHANNELS,
            bias=CHANNELS,
        ),
        call(T("n c"), running_mean=None, running_var=None, training=True),
    ),
    entry("F.local_response_norm", call(SIGNAL, size=3), call(IMAGE, size=2, alpha=0.1)),
    entry(
        "F.conv1d",
        call(SIGNAL, weight=T("m c 3"), bias=T("m")),
        call(SIGNAL, weight=T("m c 3"), stride=2, padding=1, dilation=2),
    ),
    entry(
        "F.conv2d",
        call(IMAGE, weight=T("m c 3 2"), bias=T("m")),
        call(IMAGE, weight=T("4 1 3 3"), stride=2, padding=1, groups=4),
    ),
    entry(
        "F.conv_transpose1d",
        call(SIGNAL, weight=T("c m 3"), bias=T("m")),
        call(SIGNAL, weight=T("c m 3"), stride=2, padding=1),
    ),
    entry(
        "F.conv_transpose2d",
        call(IMAGE, weight=T("c m 3 2"), bias=T("m")),
        call(IMAGE, weight=T("c m 3 3"), stride=2, padding=1),
    ),
    entry(
        "F.max_pool1d",
        call(SIGNAL_DISTINCT, kernel_size=2),
        call(SIGNAL_DISTINCT, kernel_size=3, stride=2, padding=1),
    ),
    entry(
        "F.max_pool2d",
        call(IMAGE_DISTINCT, kernel_size=2),
        call(IMAGE_DISTINCT, kernel_size=3, stride=2, padding=1),
    ),
    entry(
        "F.avg_pool1d",
        call(SIGNAL, kernel_size=2, named=False),
        call(SIGNAL, kernel_size=3, stride=2, padding=1, named=False),
    ),
    entry(
        "F.avg_pool2d",
        call(IMAGE, kernel_size=2, named=False),
        call(IMAGE, kernel_size=3, stride=2, padding=1, named=False),
    ),
    entry("F.adaptive_avg_pool1d", call(SIGNAL, output_size=3, named=False)),
    entry("F.adaptive_avg_pool2d", call(IMAGE, output_size=(3, 2)), call(IMAGE, output_size=1)),
    entry("F.adaptive_max_pool1d", call(SIGNAL_DISTINCT, output_size=3)),
    entry("F.adaptive_max_pool2d", call(IMAGE_DISTINCT, output_size=(3, 2))),
    entry(
        "F.pad",
        call(X, pad=(1, 2)),
        call(X, pad=(1, 0, 2, 1), mode="constant", value=1.5),
        call(SIGNAL, pad=(1, 1), mode="reflect"),
        call(SIGNAL, pad=(1, 1), mode="replicate"),
        call(SIGNAL, pad=(1, 1), mode="circular"),
    ),
    entry(
        "F.interpolate",
        call(SIGNAL, scale_factor=2),
        call(IMAGE, size=(5, 9), mode="bilinear"),
        call(IMAGE, scale_factor=2, mode="bilinear", align_corners=True),
        call(IMAGE, size=(5, 9), mode="bicubic", factor=16.0),
    ),
    entry("F.pixel_shuffle", call(T("b 4 h w"), upscale_factor=2, named=False)),
    entry("F.pixel_unshuffle", call(T("b c 4 6"), downscale_factor=2, named=False)),
    entry("F.channel_shuffle", call(T("b 4 h w"), groups=2, named=False)),
    entry(
        "F.unfold", call(IMAGE, kernel_size=2), call(IMAGE, kernel_size=(2, 3), padding=1, stride=2)
    ),
    entry(
        "F.scaled_dot_product_attention",
        call(query=T("b n k"), key=T("b m k"), value=T("b m k")),
        call(
            query=T("b 2 n k"),
            key=T("b 2 m k"),
            value=T("b 2 m k"),
            attn_mask=None,
            dropout_p=0.0,
            is_causal=True,
        ),
    ),
    entry("F.dropout", call(X, p=0.5, judged="type"), call(X, p=0.5, training=False)),
    *(
        entry(
            f"F.{name}", call(T(shape), p=0.5, judged="type"), call(T(shape), p=0.5, training=False)
        )
        for name, shape in (
            ("dropout1d", "b c l"),
            ("dropout2d", "b c h w"),
            ("dropout3d", "b c 2 h w"),
        )
    ),
]
PAIRS: dict[str, tuple[Call, ...]] = {
    "mse_loss": (
        call(X, target=X),
        call(X, target=X, reduction="none"),
        call(X, target=X, reduction="sum"),
    ),
    "l1_loss": (call(X, target=X), call(X, target=X, reduction="none")),
    "smooth_l1_loss": (call(X, target=X), call(X, target=X, beta=0.5, reduction="none")),
    "huber_loss": (call(X, target=X), call(X, target=X, delta=0.5, reduction="none")),
    "soft_margin_loss": (call(X, target=SIGN), call(X, target=SIGN, reduction="none")),
    "hinge_embedding_loss": (
        call(X, target=SIGN),
        call(X, target=SIGN, margin=0.5, reduction="none"),
    ),
    "kl_div": (call(X, target=SHARE), call(X, target=X, reduction="sum", log_target=True)),
    "poisson_nll_loss": (
        call(X, target=POSITIVE),
        call(POSITIVE, target=POSITIVE, log_input=False, full=True),
    ),
    "binary_cross_entropy": (
        call(SHARE, target=SHARE),
        call(SHARE, target=SHARE, weight=POSITIVE, reduction="none"),
    ),
    "binary_cross_entropy_with_logits": (
        call(X, target=SHARE),
        call(X, target=SHARE, weight=POSITIVE, reduction="none", pos_weight=POSITIVE),
    ),
}
for _name, _calls in PAIRS.items():
    NAMES.append(entry(f"F.{_name}", *_calls))
NAMES += [
    entry(
        "F.cross_entropy",
        call(LOGITS, target=CLASSES),
        call(LOGITS, target=CLASSES, weight=T("4", "positive"), reduction="none"),
        call(LOGITS, target=CLASSES, label_smoothing=0.1),
        call(T("b 4 l"), target=T("b l", "index", "int64", 4), reduction="sum"),
        call(LOGITS, target=T("n 4", "share")),
    ),
    entry(
        "F.nll_loss",
        call(LOGITS, target=CLASSES),
        call(LOGITS, target=CLASSES, weight=T("4", "positive"), reduction="sum"),
    ),
    entry(
        "F.gaussian_nll_loss",
        call(X, target=X, var=POSITIVE),
        call(X, target=X, var=POSITIVE, full=True, reduction="none"),
    ),
    entry(
        "F.margin_ranking_loss",
        call(input1=T("n"), input2=T("n"), target=T("n", "sign", constant=True)),
        call(
            input1=T("n"),
            input2=T("n"),
            target=T("n", "sign", constant=True),
            margin=0.5,
            reduction="sum",
        ),
    ),
    entry(
        "F.cosine_embedding_loss",
        call(input1=X, input2=X, target=T("n", "sign", constant=True), least=1.0),
        call(
            input1=X,
            input2=X,
            target=T("n", "sign", constant=True),
            margin=0.1,
            reduction="none",
            least=1.0,
        ),
    ),
    entry(
        "F.triplet_margin_loss",
        call(anchor=X, positive=X, negative=X),
        call(
            anchor=X,
            positive=X,
            negative=X,
            margin=0.5,
            p=1,
            swap=True,
            reduction="none",
            factor=16.0,
        ),
    ),
]
