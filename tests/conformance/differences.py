"""What is known to differ from PyTorch: forms that raise here, and forms that are more than PyTorch takes.

docs/coming_from_pytorch.md tells users the same. A difference that is not here fails its cell, and so does one that
is here and is none.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.conformance.entry import FORMS

WHOLE = "i64 i32 i16 i8 u8"
NARROW = "bf16 f16"


class Difference(NamedTuple):
    """Why names behave otherwise in some forms."""

    why: str
    forms: str
    names: str


_PRODUCTS = (
    "flow.matmul Tensor.matmul flow.mm Tensor.mm flow.bmm Tensor.bmm flow.mv Tensor.mv flow.dot Tensor.dot flow.vdot "
    "Tensor.vdot flow.inner Tensor.inner flow.addmm Tensor.addmm flow.addmv Tensor.addmv flow.baddbmm Tensor.baddbmm "
    "flow.addbmm Tensor.addbmm flow.tensordot flow.einsum flow.chain_matmul Tensor.__matmul__"
)
_OF_VALUES = (
    "flow.unique Tensor.unique flow.nonzero Tensor.nonzero flow.argwhere Tensor.argwhere flow.masked_scatter "
    "Tensor.masked_scatter flow.masked_select Tensor.masked_select"
)

RAISES = (
    Difference(
        "no kernel multiplies matrices of integers",
        WHOLE,
        f"{_PRODUCTS} F.linear F.bilinear flow.linalg.multi_dot flow.linalg.matrix_power",
    ),
    Difference(
        "no kernel multiplies matrices of integers",
        f"{WHOLE} bool",
        "flow.matrix_power Tensor.matrix_power",
    ),
    Difference(
        "integers to the power of an integer tensor",
        f"{WHOLE} mixed",
        "flow.pow Tensor.pow Tensor.__pow__",
    ),
    Difference("a number to the power of an integer tensor", f"{WHOLE} bool", "Tensor.__rpow__"),
    Difference("activations and losses take floating point", "i64 i32 i16 i8", "nn.Hardtanh"),
    Difference(
        "the shape of the result depends on values",
        f"value f64 {NARROW} {WHOLE} bool empty one 0-d odd strided deeper positional",
        _OF_VALUES,
    ),
    Difference(
        "the shape of the result depends on values",
        "keyword",
        "flow.unique flow.nonzero flow.argwhere flow.masked_scatter Tensor.masked_scatter flow.masked_select "
        "Tensor.masked_select",
    ),
    Difference(
        "the shape of the result depends on values",
        "gradient",
        "flow.masked_scatter Tensor.masked_scatter flow.masked_select Tensor.masked_select",
    ),
    Difference(
        "scatter_reduce sums only",
        f"value gradient f64 {NARROW} {WHOLE} bool empty one 0-d odd strided negative keyword positional",
        "flow.scatter_reduce:amax Tensor.scatter_reduce:amax",
    ),
    Difference(
        "images and signals of integers",
        WHOLE,
        "F.conv1d F.conv2d F.conv3d F.max_pool2d F.max_pool3d nn.MaxPool2d nn.MaxPool3d",
    ),
    Difference(
        "images and signals of integers",
        "i64",
        "F.conv_transpose1d F.conv_transpose2d F.avg_pool1d F.avg_pool2d F.local_response_norm nn.LocalResponseNorm "
        "nn.AvgPool1d nn.AvgPool2d F.conv_transpose3d F.avg_pool3d nn.AvgPool3d",
    ),
    Difference(
        "images of bytes are converted first",
        "u8",
        "F.interpolate nn.Upsample F.upsample_bilinear nn.UpsamplingBilinear2d",
    ),
    Difference("a table of integers has no kernel", f"{WHOLE} bool", "F.embedding"),
    Difference(
        "activations and losses take floating point",
        WHOLE,
        "F.relu6 F.hardtanh F.threshold nn.ReLU6 nn.Threshold F.margin_ranking_loss F.hinge_embedding_loss",
    ),
    Difference(
        "[n] beside [n, 1] is a mistake more often than a wish",
        "broadcast",
        "F.mse_loss F.l1_loss F.smooth_l1_loss F.huber_loss F.soft_margin_loss F.poisson_nll_loss F.hinge_embedding_loss",
    ),
    Difference(
        "PyTorch only warns of another number of dims",
        "0-d deeper",
        "F.dropout2d F.dropout3d nn.Dropout2d nn.Dropout3d",
    ),
    Difference(
        "PyTorch only warns of another number of dims",
        "deeper",
        "Tensor.T F.adaptive_avg_pool2d F.adaptive_avg_pool3d",
    ),
)
MORE = (
    Difference(
        "products promote two dtypes",
        "mixed",
        f"{_PRODUCTS} flow.linalg.multi_dot flow.linalg.vecdot",
    ),
    Difference("sums of integers", f"{WHOLE} bool", "flow.linalg.vecdot"),
    Difference("integers are round already", WHOLE, "flow.special.round"),
    Difference(
        "computed from lgamma, which takes bools",
        "bool",
        "flow.mvlgamma Tensor.mvlgamma flow.special.multigammaln",
    ),
    Difference(
        "labels without dims", "0-d", "F.multilabel_soft_margin_loss nn.MultiLabelSoftMarginLoss"
    ),
    Difference("windows of one element", "one", "F.avg_pool3d"),
    Difference("samples without frames", "empty", "F.ctc_loss nn.CTCLoss"),
    Difference("slopes are drawn in float32", "f16", "F.rrelu"),
    Difference(
        "tensors have no strides that a view could miss",
        "strided",
        "Tensor.view Tensor.view_as flow.take_along_dim Tensor.take_along_dim",
    ),
    Difference(
        "losses of integers are computed in float32",
        WHOLE,
        "F.mse_loss F.smooth_l1_loss F.huber_loss F.kl_div F.binary_cross_entropy F.gaussian_nll_loss F.nll_loss "
        "nn.SmoothL1Loss nn.HuberLoss nn.KLDivLoss nn.BCELoss nn.GaussianNLLLoss nn.NLLLoss nn.Bilinear",
    ),
    Difference(
        "losses of integers are computed in float32", "bool", "F.nll_loss nn.NLLLoss nn.Bilinear"
    ),
    Difference(
        "pixels are moved, whatever their dtype",
        "i64 i32 i16 i8 bool",
        "F.interpolate nn.Upsample F.upsample_nearest nn.UpsamplingNearest2d",
    ),
    Difference(
        "pixels are moved, whatever their dtype", WHOLE, "F.unfold nn.Unfold F.fold nn.Fold"
    ),
    Difference(
        "pixels are moved, whatever their dtype",
        "bool",
        "nn.ReflectionPad3d nn.ReplicationPad3d F.pad nn.ReflectionPad1d nn.ReflectionPad2d nn.ReplicationPad1d nn.ReplicationPad2d",
    ),
    Difference(
        "padding takes any number of dims",
        "deeper",
        "F.pad nn.ReflectionPad1d nn.ReflectionPad2d nn.ReplicationPad1d nn.ReplicationPad2d nn.CircularPad1d nn.CircularPad2d "
        "nn.ReflectionPad3d nn.ReplicationPad3d nn.CircularPad3d",
    ),
    Difference(
        "computed from functions that take these dtypes",
        NARROW,
        "F.local_response_norm nn.LocalResponseNorm flow.special.ndtri F.avg_pool3d nn.AvgPool3d F.pdist "
        "F.multi_margin_loss nn.MultiMarginLoss F.multilabel_margin_loss nn.MultiLabelMarginLoss",
    ),
    Difference(
        "operands broadcast",
        "broadcast",
        "F.triplet_margin_loss F.triplet_margin_with_distance_loss",
    ),
    Difference("one value has the variance 0 here", "one", "F.group_norm nn.GroupNorm"),
    Difference("an empty batch is normalised to an empty one", "empty", "nn.InstanceNorm1d"),
)
NOT_APPLICABLE = (
    Difference(
        "PyTorch's vectorised gelu gives nan at infinities, its formula does not",
        "special",
        "F.gelu",
    ),
    Difference(
        "PyTorch does not move the pixels of an empty batch",
        "empty",
        "F.pixel_unshuffle nn.PixelUnshuffle",
    ),
    Difference(
        "PyTorch's mean over no rows is what its memory held",
        "empty",
        "F.multi_margin_loss nn.MultiMarginLoss F.multilabel_margin_loss nn.MultiLabelMarginLoss",
    ),
    Difference("tensors have no strides", "strided", "Tensor.is_contiguous"),
    Difference("Python calls reflected operators with numbers", "mixed", "Tensor.__rtruediv__"),
    Difference("Python wants a TypeError", "0-d", "Tensor.__len__"),
)


def _by_cell(differences: tuple[Difference, ...]) -> dict[tuple[str, str], str]:
    found = {}
    for one in differences:
        for form in one.forms.split():
            assert form in FORMS, form
            for name in one.names.split():
                assert (name, form) not in found, f"{name} {form} is listed twice"
                found[name, form] = one.why
    return found


RAISING = _by_cell(RAISES)
WIDER = _by_cell(MORE)
LEFT_OUT = _by_cell(NOT_APPLICABLE)
