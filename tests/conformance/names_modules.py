"""Modules that have no functional form, and those that hold states."""

from __future__ import annotations

from typing import Any

from tests.conformance.entry import Call, Entry, T, entry


def module(
    *operands: T,
    init: tuple[Any, ...] = (),
    judged: str = "value",
    factor: float = 8.0,
    **options: Any,
) -> Call:
    return Call(
        {f"operand{i}": one for i, one in enumerate(operands)},
        init=init,
        options=options,
        named=False,
        judged=judged,
        factor=factor,
    )


X = T("n 4")
SIGNAL = T("b 4 l")
IMAGE = T("b 4 h w")
VOLUME = T("b 4 2 h w")
DISTINCT = T("b 4 l", "distinct")
DISTINCT_IMAGE = T("b 4 h w", "distinct")
DISTINCT_VOLUME = T("b 2 4 4 5", "distinct")
SEQUENCE = T("l b 4")

NAMES: list[Entry] = [
    entry("nn.Linear", module(X, init=(4, 3)), module(T("b n 4"), init=(4, 3), bias=False)),
    entry("nn.Bilinear", module(X, T("n 3"), init=(4, 3, 2))),
    entry("nn.Identity", module(X)),
    entry("nn.Flatten", module(IMAGE), module(IMAGE, init=(0, 2))),
    entry("nn.Unflatten", module(X, init=(1, (2, 2)))),
    entry(
        "nn.Embedding",
        module(T("n", "index", "int64", 5), init=(5, 3)),
        module(T("n l", "index", "int64", 5), init=(5, 3), padding_idx=1),
    ),
    entry(
        "nn.Conv1d",
        module(SIGNAL, init=(4, 3, 3)),
        module(SIGNAL, init=(4, 4, 3), stride=2, padding=1, groups=2),
    ),
    entry(
        "nn.Conv2d",
        module(IMAGE, init=(4, 3, 3)),
        module(IMAGE, init=(4, 4, 3), stride=2, padding=1, padding_mode="reflect"),
    ),
    entry("nn.ConvTranspose1d", module(SIGNAL, init=(4, 3, 3))),
    entry("nn.ConvTranspose2d", module(IMAGE, init=(4, 3, 3), stride=2, output_padding=1)),
    entry(
        "nn.Conv3d",
        module(VOLUME, init=(4, 3, 2)),
        module(VOLUME, init=(4, 4, 3), stride=2, padding=1, groups=2, padding_mode="replicate"),
    ),
    entry("nn.ConvTranspose3d", module(VOLUME, init=(4, 3, 3), stride=2, output_padding=1)),
    entry(
        "nn.EmbeddingBag",
        module(T("n l", "index", "int64", 5), init=(5, 3)),
        module(T("n l", "index", "int64", 5), init=(5, 3), mode="sum", padding_idx=1),
    ),
    entry("nn.BatchNorm1d", module(X, init=(4,)), module(SIGNAL, init=(4,))),
    entry("nn.BatchNorm2d", module(IMAGE, init=(4,))),
    entry("nn.BatchNorm3d", module(VOLUME, init=(4,))),
    entry("nn.InstanceNorm1d", module(SIGNAL, init=(4,), affine=True)),
    entry("nn.InstanceNorm2d", module(IMAGE, init=(4,))),
    entry("nn.InstanceNorm3d", module(VOLUME, init=(4,), factor=64.0)),
    entry("nn.LayerNorm", module(X, init=(4,)), module(T("b n 4"), init=((4,),), bias=False)),
    entry("nn.RMSNorm", module(X, init=(4,))),
    entry("nn.GroupNorm", module(SIGNAL, init=(2, 4)), module(IMAGE, init=(4, 4), affine=False)),
    entry("nn.LocalResponseNorm", module(IMAGE, init=(2,))),
    entry("nn.PReLU", module(X), module(X, init=(4,))),
    entry("nn.Softmax2d", module(IMAGE)),
    entry(
        "nn.RNN",
        module(SEQUENCE, init=(4, 3)),
        module(T("b l 4"), init=(4, 3, 2), batch_first=True, bidirectional=True),
    ),
    entry(
        "nn.LSTM",
        module(SEQUENCE, init=(4, 3)),
        module(T("b l 4"), init=(4, 3, 2), batch_first=True, bidirectional=True),
    ),
    entry(
        "nn.GRU",
        module(SEQUENCE, init=(4, 3)),
        module(T("b l 4"), init=(4, 3, 2), batch_first=True, bidirectional=True),
    ),
    entry(
        "nn.RNNCell", module(X, init=(4, 3)), module(X, T("n 3"), init=(4, 3), nonlinearity="relu")
    ),
    entry("nn.LSTMCell", module(X, init=(4, 3))),
    entry("nn.GRUCell", module(X, init=(4, 3)), module(X, T("n 3"), init=(4, 3))),
    entry(
        "nn.MultiheadAttention",
        module(T("l b 4"), T("m b 4"), T("m b 4"), init=(4, 2)),
        module(T("b l 4"), T("b l 4"), T("b l 4"), init=(4, 2), batch_first=True),
    ),
    entry("nn.TransformerEncoderLayer", module(T("l b 4"), init=(4, 2, 6, 0.0))),
    entry("nn.TransformerDecoderLayer", module(T("l b 4"), T("m b 4"), init=(4, 2, 6, 0.0))),
    entry("nn.Transformer", module(T("l b 4"), T("m b 4"), init=(4, 2, 1, 1, 6, 0.0), factor=32.0)),
    entry(
        "nn.Upsample", module(IMAGE, scale_factor=2), module(IMAGE, size=(5, 9), mode="bilinear")
    ),
    entry("nn.ZeroPad1d", module(SIGNAL, init=(1,))),
    entry("nn.ZeroPad2d", module(IMAGE, init=((1, 0, 2, 1),))),
    entry("nn.ZeroPad3d", module(VOLUME, init=(1,))),
    entry("nn.ConstantPad1d", module(SIGNAL, init=(1, 2.5))),
    entry("nn.ConstantPad2d", module(IMAGE, init=(1, 2.5))),
    entry("nn.ConstantPad3d", module(VOLUME, init=(1, 2.5))),
    entry("nn.ReflectionPad1d", module(SIGNAL, init=(1,))),
    entry("nn.ReflectionPad2d", module(IMAGE, init=(1,))),
    entry("nn.ReplicationPad1d", module(SIGNAL, init=(1,))),
    entry("nn.ReplicationPad2d", module(IMAGE, init=(1,))),
    entry("nn.CircularPad1d", module(SIGNAL, init=(1,))),
    entry("nn.ReflectionPad3d", module(VOLUME, init=(1,))),
    entry("nn.ReplicationPad3d", module(VOLUME, init=(1,))),
    entry("nn.CircularPad3d", module(VOLUME, init=(1,))),
    entry("nn.CircularPad2d", module(IMAGE, init=(1,))),
    entry("nn.CosineSimilarity", module(X, X), module(X, X, dim=0)),
    entry("nn.PairwiseDistance", module(X, X)),
    *(
        entry(f"nn.{name}", module(X, T("n 4", target, constant=target == "sign"), **options))
        for name, target, options in (
            ("MSELoss", "normal", {}),
            ("L1Loss", "normal", {"reduction": "sum"}),
            ("SmoothL1Loss", "normal", {"beta": 0.5}),
            ("HuberLoss", "normal", {"delta": 0.5}),
            ("BCEWithLogitsLoss", "share", {}),
            ("SoftMarginLoss", "sign", {}),
            ("HingeEmbeddingLoss", "sign", {}),
            ("KLDivLoss", "share", {"reduction": "batchmean"}),
            ("PoissonNLLLoss", "positive", {}),
        )
    ),
    entry("nn.BCELoss", module(T("n 4", "share"), T("n 4", "share"))),
    entry(
        "nn.CrossEntropyLoss",
        module(X, T("n", "index", "int64", 4)),
        module(X, T("n", "index", "int64", 4), label_smoothing=0.1),
    ),
    entry(
        "nn.CTCLoss",
        module(
            T("l n c"),
            T("n s", "index", "int64", "c"),
            T("n", "index", "int64", "l"),
            T("n", "index", "int64", "s"),
            zero_infinity=True,
        ),
    ),
    entry("nn.NLLLoss", module(X, T("n", "index", "int64", 4))),
    entry("nn.GaussianNLLLoss", module(X, X, T("n 4", "positive"))),
    entry("nn.MarginRankingLoss", module(T("n"), T("n"), T("n", "sign", constant=True))),
    entry("nn.CosineEmbeddingLoss", module(X, X, T("n", "sign", constant=True))),
    entry("nn.TripletMarginLoss", module(X, X, X)),
    entry("nn.TripletMarginWithDistanceLoss", module(X, X, X, margin=0.5, swap=True)),
    entry("nn.MultiMarginLoss", module(X, T("n", "index", "int64", 4), p=2)),
    entry("nn.MultiLabelMarginLoss", module(X, T("n 4", "index", "int64", 4))),
    entry("nn.MultiLabelSoftMarginLoss", module(X, T("n 4", "share", constant=True))),
    *(
        entry(f"nn.{name}", module(X))
        for name in (
            "Dropout",
            "Tanh",
            "Sigmoid",
            "ReLU",
            "GELU",
            "SiLU",
            "Softplus",
            "Softsign",
            "LogSigmoid",
            "Hardswish",
            "Mish",
            "Tanhshrink",
        )
    ),
    *(
        entry(f"nn.{name}", module(operand, init=init, **options))
        for name, operand, init, options in (
            ("AdaptiveAvgPool1d", SIGNAL, (3,), {}),
            ("AdaptiveAvgPool2d", IMAGE, ((3, 2),), {}),
            ("AdaptiveMaxPool1d", DISTINCT, (3,), {}),
            ("AdaptiveMaxPool2d", DISTINCT_IMAGE, ((3, 2),), {}),
            ("AvgPool1d", SIGNAL, (2,), {}),
            ("AvgPool2d", IMAGE, (2,), {}),
            ("MaxPool1d", DISTINCT, (2,), {}),
            ("MaxPool2d", DISTINCT_IMAGE, (2,), {}),
            ("AdaptiveAvgPool3d", VOLUME, ((2, 3, 2),), {}),
            ("AdaptiveMaxPool3d", DISTINCT_VOLUME, ((2, 3, 2),), {}),
            ("AvgPool3d", VOLUME, (2,), {}),
            ("MaxPool3d", DISTINCT_VOLUME, (2,), {}),
            ("AlphaDropout", X, (), {}),
            ("FeatureAlphaDropout", IMAGE, (), {}),
            ("Fold", T("b 8 12"), ((4, 5), 2), {}),
            ("LPPool1d", T("b 4 l", "positive"), (2.0, 2), {}),
            ("LPPool2d", T("b 4 h w", "positive"), (2.0, 2), {}),
            ("UpsamplingNearest2d", IMAGE, (), {"scale_factor": 2}),
            ("UpsamplingBilinear2d", IMAGE, ((5, 9),), {}),
            ("CELU", X, (0.5,), {}),
            ("ChannelShuffle", IMAGE, (2,), {}),
            ("Dropout1d", SIGNAL, (), {}),
            ("Dropout2d", IMAGE, (), {}),
            ("Dropout3d", VOLUME, (), {}),
            ("ELU", X, (0.5,), {}),
            ("GLU", X, (), {}),
            ("Hardshrink", X, (), {}),
            ("Hardsigmoid", X, (), {}),
            ("Hardtanh", X, (), {}),
            ("LeakyReLU", X, (0.2,), {}),
            ("LogSoftmax", X, (1,), {}),
            ("PixelShuffle", IMAGE, (2,), {}),
            ("PixelUnshuffle", T("b c 4 6"), (2,), {}),
            ("ReLU6", X, (), {}),
            ("RReLU", X, (), {}),
            ("SELU", X, (), {}),
            ("Softmax", X, (1,), {}),
            ("Softmin", X, (1,), {}),
            ("Softshrink", X, (), {}),
            ("Threshold", X, (0.1, 20.0), {}),
            ("Unfold", IMAGE, (2,), {}),
        )
    ),
]
