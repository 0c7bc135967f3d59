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
        "F.ctc_loss",
        *(
            call(
                log_probs=T("l n c"),
                targets=T("n s", "index", "int64", "c"),
                input_lengths=T("n", "index", "int64", "l"),
                target_lengths=T("n", "index", "int64", "s"),
                blank=blank,
                reduction=reduction,
                zero_infinity=True,
            )
            for blank, reduction in ((0, "mean"), (1, "none"))
        ),
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
VOLUME = T("b c 5 h w")
VOLUME_DISTINCT = T("b 2 4 5 6", "distinct")
GRID = T("b n k 2", "unit")
NAMES += [
    entry(
        "F.conv3d",
        call(VOLUME, weight=T("m c 3 2 3"), bias=T("m")),
        call(VOLUME, weight=T("4 2 2 3 3"), stride=2, padding=1, dilation=(2, 1, 1), groups=2),
        call(VOLUME, weight=T("m c 3 3 3"), padding="same"),
    ),
    entry(
        "F.conv_transpose3d",
        call(VOLUME, weight=T("c m 3 2 3"), bias=T("m")),
        call(VOLUME, weight=T("c m 3 3 3"), stride=2, padding=1),
    ),
    entry(
        "F.max_pool3d",
        call(VOLUME_DISTINCT, kernel_size=2),
        call(VOLUME_DISTINCT, kernel_size=3, stride=2, padding=1),
    ),
    entry(
        "F.avg_pool3d",
        call(VOLUME, kernel_size=2, named=False),
        call(VOLUME, kernel_size=3, stride=2, padding=1, named=False),
        call(VOLUME, kernel_size=2, ceil_mode=True, divisor_override=3, named=False),
    ),
    entry(
        "F.adaptive_avg_pool3d", call(VOLUME, output_size=(3, 2, 1)), call(VOLUME, output_size=1)
    ),
    entry("F.adaptive_max_pool3d", call(VOLUME_DISTINCT, output_size=(3, 2, 1))),
    entry("F.lp_pool1d", call(T("b c l", "positive"), norm_type=2.0, kernel_size=2)),
    entry(
        "F.lp_pool2d",
        call(T("b c h w", "positive"), norm_type=2.0, kernel_size=2),
        call(T("b c h w", "positive"), norm_type=3.0, kernel_size=3, stride=2),
    ),
    entry(
        "F.fold",
        call(T("b 8 12"), output_size=(4, 5), kernel_size=2),
        call(T("b 6 6"), output_size=(4, 5), kernel_size=(2, 3), padding=1, stride=2),
    ),
    entry(
        "F.grid_sample",
        call(IMAGE, grid=GRID, align_corners=False, factor=64.0),
        call(IMAGE, grid=GRID, padding_mode="border", align_corners=True, factor=64.0),
        call(IMAGE, grid=GRID, mode="nearest", padding_mode="reflection", align_corners=False),
    ),
    entry(
        "F.affine_grid",
        call(theta=T("2 2 3"), size=(2, 3, 4, 5), align_corners=False),
        call(theta=T("2 2 3"), size=(2, 3, 4, 5), align_corners=True),
        call(theta=T("2 3 4"), size=(2, 1, 3, 2, 4), align_corners=False),
    ),
    entry(
        "F.embedding_bag",
        call(T("n s", "index", "int64", 5), weight=T("5 3")),
        call(T("n s", "index", "int64", 5), weight=T("5 3"), mode="sum", padding_idx=1),
        call(T("n s", "index", "int64", 5), weight=T("5 3", "distinct"), mode="max"),
    ),
    entry("F.pdist", call(X)),
    entry(
        "F.multi_margin_loss",
        call(LOGITS, target=CLASSES),
        call(LOGITS, target=CLASSES, p=2, margin=0.5, weight=T("4", "positive", constant=True)),
    ),
    entry(
        "F.multilabel_margin_loss",
        call(LOGITS, target=T("n 4", "index", "int64", 4)),
        call(LOGITS, target=T("n 4", "index", "int64", 4), reduction="none"),
    ),
    entry(
        "F.multilabel_soft_margin_loss",
        call(LOGITS, target=T("n 4", "share", constant=True)),
        call(
            LOGITS,
            target=T("n 4", "share", constant=True),
            weight=T("4", "positive", constant=True),
            reduction="sum",
        ),
    ),
    entry(
        "F.triplet_margin_with_distance_loss",
        call(anchor=X, positive=X, negative=X),
        call(anchor=X, positive=X, negative=X, only={"margin": 0.5, "swap": True}, factor=16.0),
    ),
    entry("F.upsample_nearest", call(IMAGE, scale_factor=2)),
    entry("F.upsample_bilinear", call(IMAGE, size=(5, 9))),
    entry(
        "F.alpha_dropout",
        call(X, p=0.5, training=True, judged="type"),
        call(X, p=0.5, training=False),
    ),
    entry(
        "F.feature_alpha_dropout",
        call(T("b c l"), p=0.5, training=True, judged="type"),
        call(T("b c l"), p=0.5, training=False),
    ),
]
NAMES += [
    entry("F.gumbel_softmax", call(X, judged="type", named=False)),
    entry("F.rrelu", call(X), call(X, lower=0.1, upper=0.3, training=True, judged="type")),
]
