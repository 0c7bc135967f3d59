# Made by python/make_stubs.py: do not edit.
from collections.abc import Sequence

from .tensor import Tensor

def names() -> list[str]: ...

def abs(
    x: Tensor,
) -> Tensor:
    """
    y = |x|. Its gradient at 0 is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def abs_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of abs from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def acos(
    x: Tensor,
) -> Tensor:
    """
    y = arccos x, nan outside [-1, 1].

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def acos_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of acos from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def acosh(
    x: Tensor,
) -> Tensor:
    """
    y = arcosh x, nan below 1.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def acosh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of acosh from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def adamw_update(
    p: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    lr: Tensor,
    step: Tensor,
    *,
    beta1: float = ...,
    beta2: float = ...,
    eps: float = ...,
    weight_decay: float = ...,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    One step of AdamW, as torch.optim.AdamW has it: p *= 1 - lr weight_decay; m and v are the running means of g and g^2, corrected for step t = step + 1; p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).

    Inputs:
        p: T. the parameter, any shape
        g: G. its gradient, of the shape of p; a narrow one is widened as it is read
        m: T. first-moment slot, as p
        v: T. second-moment slot, as p
        lr: f32. 0-d, learning rate
        step: i64. 0-d, steps done before this one

    Attributes:
        beta1: float (default 0.9). decay of m, 0 <= beta1 < 1
        beta2: float (default 0.999). decay of v, 0 <= beta2 < 1
        eps: float (default 1e-08). keeps the quotient finite
        weight_decay: float (default 0.01). decoupled: scales p, not g

    Outputs:
        p: T. the new parameter
        m: T. the new first moment
        v: T. the new second moment

    Types:
        T: f32
        G: f32|bf16|f16
    """

def add(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a + b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def add_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x + value.

    Inputs:
        x: T. any shape

    Attributes:
        value: float. the number, converted to the dtype of x

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def amax(
    x: Tensor,
    *,
    dims: Sequence[int],
    keepdim: bool = ...,
) -> Tensor:
    """
    Largest element over dims; nan if there is one. Equal maxima share the gradient evenly.

    Inputs:
        x: T. any shape

    Attributes:
        dims: ints. dims to reduce, each once
        keepdim: bool (default False). keep reduced dims as extent 1

    Outputs:
        y: T. x without `dims`, or with extent 1 there if keepdim

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def argmax(
    x: Tensor,
    *,
    dim: int,
    keepdim: bool = ...,
) -> Tensor:
    """
    Index of the largest element along a dim; of equal ones the first.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape of rank >= 1

    Attributes:
        dim: int. the dim
        keepdim: bool (default False). keep the dim as extent 1

    Outputs:
        y: i64. x without `dim`, or with extent 1 there if keepdim
    """

def asin(
    x: Tensor,
) -> Tensor:
    """
    y = arcsin x, nan outside [-1, 1].

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def asin_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of asin from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def asinh(
    x: Tensor,
) -> Tensor:
    """
    y = arsinh x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def asinh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of asinh from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def atan(
    x: Tensor,
) -> Tensor:
    """
    y = arctan x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def atan2(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the angle of the point (b, a), in (-pi, pi].

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16
    """

def atan_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of atan from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def atanh(
    x: Tensor,
) -> Tensor:
    """
    y = artanh x, nan outside [-1, 1].

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def atanh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of atanh from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    step: Tensor | None = ...,
    mask: Tensor | None = ...,
    *,
    causal: bool = ...,
    scale: float = ...,
    p: float = ...,
    seed: int = ...,
    key: int = ...,
    packed: Sequence[int] = ...,
) -> tuple[Tensor, Tensor]:
    """
    out = dropout(softmax(scale * q k' + mask)) v for each head, and the logarithm of the softmax's denominator. A group of heads of q shares a head of k and v. A query that sees no key gets 0. The dropout mask is that of `dropout` over [batch, heads, s, t].

    Inputs:
        q: T. [batch, s, heads, d]
        k: T. [batch, t, key_heads, d], key_heads divides heads
        v: T. [batch, t, key_heads, e]
        step: optional, i64. 0-d, number of the step: another dropout mask each step; unused where p is 0
        mask: optional, f32|f64|bf16|f16|bool. [batch or 1, heads or 1, s or 1, t or 1]; bool: True takes part; float: is added to the scores

    Attributes:
        causal: bool (default False). query i sees keys 0 .. i alone
        scale: float (default 1.0). of the products of queries and keys
        p: float (default 0.0). probability that dropout zeroes a weight, 0 <= p <= 1
        seed: int (default 0). seed of the run
        key: int (default 0). names the call site: module path and occurrence, hashed
        packed: ints (default []). [] or, made by the compiler, [q, k, v, heads, key_heads]: q, k and v are one tensor, [batch, s, heads + 2 key_heads, d], in which the heads of each begin there

    Outputs:
        out: T. [batch, s, heads, e]
        lse: S. [batch, heads, s], log of the sum of exp of the scores: kept for the gradient

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def attention_grad(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dout: Tensor,
    step: Tensor | None = ...,
    mask: Tensor | None = ...,
    dlse: Tensor | None = ...,
    *,
    causal: bool = ...,
    scale: float = ...,
    p: float = ...,
    seed: int = ...,
    key: int = ...,
    packed: Sequence[int] = ...,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Gradients of attention. The scores are computed again, block by block.

    Inputs:
        q: T. [batch, s, heads, d]
        k: T. [batch, t, key_heads, d]
        v: T. [batch, t, key_heads, e]
        out: T. the forward op's result
        lse: S. its second result
        dout: T. gradient of out
        step: optional, i64. 0-d, number of the step: another dropout mask each step; unused where p is 0
        mask: optional, f32|f64|bf16|f16|bool. [batch or 1, heads or 1, s or 1, t or 1]; bool: True takes part; float: is added to the scores
        dlse: optional, S. gradient of lse; absent: 0

    Attributes:
        causal: bool (default False). query i sees keys 0 .. i alone
        scale: float (default 1.0). of the products of queries and keys
        p: float (default 0.0). probability that dropout zeroes a weight, 0 <= p <= 1
        seed: int (default 0). seed of the run
        key: int (default 0). names the call site: module path and occurrence, hashed
        packed: ints (default []). [] or, made by the compiler, [q, k, v, heads, key_heads]: q, k and v are one tensor, [batch, s, heads + 2 key_heads, d], in which the heads of each begin there

    Outputs:
        dq: T. as q; packed: the gradient of all three
        dk: T. as k, if not packed
        dv: T. as v, if not packed

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def avg_pool2d(
    x: Tensor,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = ...,
) -> Tensor:
    """
    Mean of each window; padding counts as zeros that are part of the mean, as PyTorch's count_include_pad=True has it.

    Inputs:
        x: T. images [n, h, w, c]

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel

    Outputs:
        y: T. [n, p, q, c] with p = (h + 2 padding - kernel) / stride + 1

    Types:
        T: f32|f64|bf16|f16
    """

def avg_pool2d_grad(
    dy: Tensor,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = ...,
    h: int,
    w: int,
) -> Tensor:
    """
    Gradient of avg_pool2d: each element of dy is dealt out evenly over its window.

    Inputs:
        dy: T. gradient of the pooled images [n, p, q, c]

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel
        h: int. height of the images
        w: int. width of the images

    Outputs:
        dx: T. [n, h, w, c]

    Types:
        T: f32|f64|bf16|f16
    """

def bitwise_and(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the bits that are set in a and in b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: i64|i32|i16|i8|u8|bool
    """

def bitwise_or(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the bits that are set in a or in b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: i64|i32|i16|i8|u8|bool
    """

def bitwise_xor(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the bits in which a and b differ.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: i64|i32|i16|i8|u8|bool
    """

def bn_apply(
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    groups: int = ...,
    count: int = ...,
) -> Tensor:
    """
    y = (x - mean) * rstd * weight + bias, channel by channel, with the statistics of each sample's group.

    Inputs:
        x: T. [n, ..., c]; n a multiple of groups
        mean: S. [groups, c]
        rstd: S. [groups, c], 1 / sqrt(variance + eps)
        weight: S. [c]
        bias: S. [c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own
        count: int (default 0). > 0: mean and rstd are x's own statistics over so many elements each, and the gradient of x goes through them; 0: they are given numbers

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def bn_grad_input(
    x: Tensor,
    dy: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    sum_dy: Tensor,
    sum_dy_xhat: Tensor,
    *,
    groups: int = ...,
    count: int,
) -> Tensor:
    """
    dx = weight * rstd * (dy - sum_dy / count - xhat * sum_dy_xhat / count): batch_norm's gradient through its own statistics.

    Inputs:
        x: T. [n, ..., c]; n a multiple of groups
        dy: T. gradient of y, as x
        mean: S. [groups, c]
        rstd: S. [groups, c]
        weight: S. [c]
        sum_dy: S. [groups, c]
        sum_dy_xhat: S. [groups, c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own
        count: int. logical elements of one statistic, also on a shard

    Outputs:
        dx: T. as x

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def bn_grad_sums(
    x: Tensor,
    dy: Tensor,
    mean: Tensor,
    rstd: Tensor,
    *,
    groups: int = ...,
) -> tuple[Tensor, Tensor]:
    """
    The two sums of batch_norm's backward pass over each group: of dy, and of dy * xhat with xhat = (x - mean) * rstd.

    Inputs:
        x: T. [n, ..., c]; n a multiple of groups
        dy: T. gradient of y, as x
        mean: S. [groups, c]
        rstd: S. [groups, c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own

    Outputs:
        sum_dy: S. [groups, c]
        sum_dy_xhat: S. [groups, c]

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def bn_join_squares(
    sums: Tensor,
    squares: Tensor,
    mean: Tensor,
    *,
    groups: int = ...,
    count: int,
) -> Tensor:
    """
    Sum of (x - mean)^2 of each channel over the samples of each group, from what bn_sample_sums has of x: that of squares + count * (sums / count - mean)^2.

    Inputs:
        sums: S. [n, c]; n a multiple of groups
        squares: S. [n, c]
        mean: S. [groups, c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own
        count: int. elements of a channel of one sample

    Outputs:
        sum: S. [groups, c]

    Types:
        S: f32|f64
    """

def bn_sample_sums(
    x: Tensor,
) -> tuple[Tensor, Tensor]:
    """
    Of each channel of each sample: its sum, and the sum of the squares about its mean. One pass over x.

    Inputs:
        x: T. [n, ..., c]

    Outputs:
        sums: S. [n, c]
        squares: S. [n, c]

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def bn_sq_sum(
    x: Tensor,
    mean: Tensor,
    *,
    groups: int = ...,
) -> Tensor:
    """
    Sum of (x - mean)^2 of each channel over the samples of each group.

    Inputs:
        x: T. [n, ..., c]; n a multiple of groups
        mean: S. [groups, c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own

    Outputs:
        sum: S. [groups, c]

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def bn_sum(
    x: Tensor,
    *,
    groups: int = ...,
) -> Tensor:
    """
    Sum of each channel over the samples of each group.

    Inputs:
        x: T. [n, ..., c]; n a multiple of groups

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own

    Outputs:
        sum: S. [groups, c]

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def broadcast_to(
    x: Tensor,
    *,
    shape: Sequence[int],
) -> Tensor:
    """
    x repeated along new leading dims and along dims of extent 1.

    Inputs:
        x: T. a shape that broadcasts to `shape`, dims aligned from the right

    Attributes:
        shape: ints. the target shape

    Outputs:
        y: T. shape as the attribute says

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def cast(
    x: Tensor,
    *,
    dtype: str,
) -> Tensor:
    """
    x converted to another dtype: floats to ints cut towards zero, anything to bool is != 0.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape

    Attributes:
        dtype: dtype. element type of y

    Outputs:
        y: dtype. shape of x
    """

def cat(
    *tensors: Tensor,
    dim: int,
) -> Tensor:
    """
    Tensors one after the other along a dim.

    Inputs:
        tensors: one or more, T. one or more; shapes equal except in `dim`

    Attributes:
        dim: int. the dim

    Outputs:
        y: T. extent of `dim` is the sum, the rest as the inputs

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def ceil(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded up. Its gradient is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def constant(
    *,
    value: float,
    dtype: str,
    shape: Sequence[int],
) -> Tensor:
    """
    A tensor filled with one number.

    Inputs:

    Attributes:
        value: float. the number, converted to dtype
        dtype: dtype. element type
        shape: ints. shape

    Outputs:
        y: dtype. shape as the attribute says, every element `value`
    """

def conv2d(
    x: Tensor,
    weight: Tensor,
    *,
    stride: Sequence[int] = ...,
    padding: Sequence[int] = ...,
    dilation: Sequence[int] = ...,
    groups: int = ...,
) -> Tensor:
    """
    2-D convolution (cross-correlation, as everywhere) of channels-last images. Accumulates in float32. A bias is added by `add`.

    Inputs:
        x: T. images [n, h, w, in]
        weight: T. [out, in / groups, kh, kw]

    Attributes:
        stride: ints (default [1, 1]). [height, width], >= 1
        padding: ints (default [0, 0]). zeros on each side, [height, width]
        dilation: ints (default [1, 1]). [height, width], >= 1
        groups: int (default 1). channels are cut into so many independent groups

    Outputs:
        y: T. [n, p, q, out] with p = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1

    Types:
        T: f32|bf16|f16
    """

def conv2d_grad_input(
    dy: Tensor,
    weight: Tensor,
    *,
    stride: Sequence[int] = ...,
    padding: Sequence[int] = ...,
    dilation: Sequence[int] = ...,
    groups: int = ...,
    h: int,
    w: int,
) -> Tensor:
    """
    Gradient of conv2d with respect to its images.

    Inputs:
        dy: T. gradient of the result [n, p, q, out]
        weight: T. [out, in / groups, kh, kw]

    Attributes:
        stride: ints (default [1, 1]). [height, width], >= 1
        padding: ints (default [0, 0]). zeros on each side, [height, width]
        dilation: ints (default [1, 1]). [height, width], >= 1
        groups: int (default 1). channels are cut into so many independent groups
        h: int. height of the images
        w: int. width of the images

    Outputs:
        dx: T. [n, h, w, in]

    Types:
        T: f32|bf16|f16
    """

def conv2d_grad_weight(
    x: Tensor,
    dy: Tensor,
    *,
    stride: Sequence[int] = ...,
    padding: Sequence[int] = ...,
    dilation: Sequence[int] = ...,
    groups: int = ...,
    kh: int,
    kw: int,
) -> Tensor:
    """
    Gradient of conv2d with respect to its weight.

    Inputs:
        x: T. images [n, h, w, in]
        dy: T. gradient of the result [n, p, q, out]

    Attributes:
        stride: ints (default [1, 1]). [height, width], >= 1
        padding: ints (default [0, 0]). zeros on each side, [height, width]
        dilation: ints (default [1, 1]). [height, width], >= 1
        groups: int (default 1). channels are cut into so many independent groups
        kh: int. height of the kernel
        kw: int. width of the kernel

    Outputs:
        dweight: T. [out, in / groups, kh, kw]

    Types:
        T: f32|bf16|f16
    """

def cos(
    x: Tensor,
) -> Tensor:
    """
    y = cos x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def cos_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of cos from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def cosh(
    x: Tensor,
) -> Tensor:
    """
    y = cosh x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def cosh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of cosh from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    classes: int = ...,
) -> tuple[Tensor, Tensor]:
    """
    Negative log-likelihood of each sample's class: loss[i] = lse[i] - logits[i][labels[i]]. Sums in float32, in float64 for f64. A label outside of 0 .. classes - 1 is a DataError.

    Inputs:
        logits: T. [n, classes]
        labels: i64. [n], class indices

    Attributes:
        classes: int (default 0). of each row of logits the first so many are classes, what lies behind them is not read; 0: all

    Outputs:
        loss: S. [n]
        lse: S. [n], log(sum(exp(logits[i]))): kept for the gradient

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def cross_entropy_grad(
    logits: Tensor,
    labels: Tensor,
    lse: Tensor,
    dloss: Tensor,
    dlse: Tensor | None = ...,
    *,
    classes: int = ...,
) -> Tensor:
    """
    Gradient of cross_entropy: dlogits[i] = softmax(logits[i]) * (dloss[i] + dlse[i]) - onehot(labels[i]) * dloss[i]; 0 behind the classes.

    Inputs:
        logits: T. [n, classes]
        labels: i64. [n], class indices
        lse: S. [n], second result of cross_entropy
        dloss: S. [n], gradient of the loss of each sample
        dlse: optional, S. [n], gradient of lse; absent: 0

    Attributes:
        classes: int (default 0). of each row of logits the first so many are classes, what lies behind them is not read; 0: all

    Outputs:
        dlogits: T. as logits

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    *,
    blank: int = ...,
) -> tuple[Tensor, Tensor]:
    """
    loss[i] = -log of the probability of sample i's labels: the sum over all ways to write them over its frames, each label for one frame or more, blanks anywhere between, and always between two equal labels (Graves et al. 2006). inf where there is no way. A label or a length out of range is a DataError.

    Inputs:
        log_probs: T. [frames, n, classes], log_softmax over the classes
        targets: i64. [n, labels], class indices; what is behind a length is not read
        input_lengths: i64. [n], frames of each sample
        target_lengths: i64. [n], labels of each sample

    Attributes:
        blank: int (default 0). the class that stands for no label

    Outputs:
        loss: T. [n]
        alphas: T. [n, frames, 2 labels + 1], log probability of all ways to a state at a frame: kept for the gradient

    Types:
        T: f32|f64
    """

def ctc_loss_grad(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    alphas: Tensor,
    loss: Tensor,
    dloss: Tensor,
    *,
    blank: int = ...,
) -> Tensor:
    """
    Gradient of ctc_loss by what log_softmax takes: dlog_probs = dloss * (exp(log_probs) - the share of all ways that are at this class in this frame). Its sum over the classes is 0, as in PyTorch. 0 behind a sample's frames; nan where the loss is inf, unless dloss is 0.

    Inputs:
        log_probs: T. [frames, n, classes], log_softmax over the classes
        targets: i64. [n, labels], class indices; what is behind a length is not read
        input_lengths: i64. [n], frames of each sample
        target_lengths: i64. [n], labels of each sample
        alphas: T. second result of ctc_loss
        loss: T. [n], first result of ctc_loss
        dloss: T. [n], gradient of the loss of each sample

    Attributes:
        blank: int (default 0). the class that stands for no label

    Outputs:
        dlog_probs: T. as log_probs

    Types:
        T: f32|f64
    """

def cumsum(
    x: Tensor,
    *,
    dim: int,
    reverse: bool = ...,
) -> Tensor:
    """
    y[i] = x[0] + .. + x[i] along dim, or x[i] + .. + x[last] if reverse.

    Inputs:
        x: T. any shape of rank >= 1

    Attributes:
        dim: int. the dim along which elements are added
        reverse: bool (default False). add from the end

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def digamma(
    x: Tensor,
) -> Tensor:
    """
    y = the derivative of ln gamma at x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def digamma_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of digamma from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def div(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a / b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16
    """

def dropout(
    x: Tensor,
    step: Tensor,
    *,
    p: float,
    seed: int,
    key: int,
) -> Tensor:
    """
    y = x / (1 - p) with probability 1 - p, else 0. The mask is Philox4x32-10 keyed by (seed, key, step, logical element index).

    Inputs:
        x: T. any shape
        step: i64. 0-d, number of the step: another mask each step

    Attributes:
        p: float. probability of a zero, 0 <= p <= 1
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16
    """

def dropout_grad(
    dy: Tensor,
    step: Tensor,
    *,
    p: float,
    seed: int,
    key: int,
) -> Tensor:
    """
    Gradient of dropout: dy / (1 - p) under the same mask, else 0.

    Inputs:
        dy: T. any shape
        step: i64. 0-d, number of the step: another mask each step

    Attributes:
        p: float. probability of a zero, 0 <= p <= 1
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        dx: T. as dy

    Types:
        T: f32|f64|bf16|f16
    """

def elu(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x where x > 0, else value * (e^x - 1).

    Inputs:
        x: T. any shape

    Attributes:
        value: float. the limit for x to -inf is -value

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def elu_grad(
    x: Tensor,
    dy: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    dx of elu from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Attributes:
        value: float. the limit for x to -inf is -value

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def embedding(
    weight: Tensor,
    index: Tensor,
    *,
    padding_idx: int = ...,
) -> Tensor:
    """
    y[i..] = weight[index[i..]]: rows of a table. An index outside of 0 .. rows - 1 is a DataError. Of a table that is cut by rows each device gives its own, zeros elsewhere.

    Inputs:
        weight: T. [rows, features]
        index: i64|i32. any shape

    Attributes:
        padding_idx: int (default -1). the row that gets no gradient; -1: every row does

    Outputs:
        y: T. the shape of index with features behind it

    Types:
        T: f32|f64|bf16|f16
    """

def embedding_grad(
    dy: Tensor,
    index: Tensor,
    *,
    rows: int,
    padding_idx: int = ...,
) -> Tensor:
    """
    dweight[r] = sum of dy[i..] over all i.. with index[i..] == r, in order of i..; 0 for padding_idx.

    Inputs:
        dy: T. the shape of index with features behind it
        index: i64|i32. any shape

    Attributes:
        rows: int. rows of the table
        padding_idx: int (default -1). the row that gets no gradient

    Outputs:
        dweight: T. [rows, features]

    Types:
        T: f32|f64|bf16|f16
    """

def eq(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a == b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def erf(
    x: Tensor,
) -> Tensor:
    """
    y = the error function of x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def erf_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of erf from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def erfc(
    x: Tensor,
) -> Tensor:
    """
    y = 1 - erf(x), exact where erf is near 1.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def erfc_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of erfc from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def erfinv(
    x: Tensor,
) -> Tensor:
    """
    y with erf(y) = x: infinite at -1 and 1, nan beyond.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def erfinv_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of erfinv from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def exp(
    x: Tensor,
) -> Tensor:
    """
    y = e^x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def exp2(
    x: Tensor,
) -> Tensor:
    """
    y = 2^x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def exp2_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of exp2 from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def expm1(
    x: Tensor,
) -> Tensor:
    """
    y = e^x - 1, exact near 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def expm1_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of expm1 from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def floor(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded down. Its gradient is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def floor_divide(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a / b rounded down; an integer by zero gives 0.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def fmod(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the rest of a / b cut towards zero, with the sign of a.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def gather(
    x: Tensor,
    index: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y[i][j][k] = x[i][index[i][j][k]][k] for dim 1. An index outside of x is a DataError.

    Inputs:
        x: T. any shape of rank >= 1
        index: i64|i32. of x's rank, nowhere longer but along dim

    Attributes:
        dim: int. the dim that index points into

    Outputs:
        y: T. the shape of index

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def ge(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a >= b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def gelu(
    x: Tensor,
) -> Tensor:
    """
    y = x * (1 + erf(x / sqrt 2)) / 2.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def gelu_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of gelu from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def gelu_tanh(
    x: Tensor,
) -> Tensor:
    """
    y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def gelu_tanh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of gelu_tanh from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def gt(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a > b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def hardsigmoid(
    x: Tensor,
) -> Tensor:
    """
    y = clamp(x / 6 + 1/2, 0, 1).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def hardsigmoid_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of hardsigmoid from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def hardswish(
    x: Tensor,
) -> Tensor:
    """
    y = x * hardsigmoid(x).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def hardswish_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of hardswish from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def layer_norm(
    x: Tensor,
    weight: Tensor | None = ...,
    bias: Tensor | None = ...,
    *,
    dims: int = ...,
    eps: float = ...,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    y = (x - mean) / sqrt(variance + eps) * weight + bias over the last dims; statistics in float32.

    Inputs:
        x: T. any shape of rank >= `dims`
        weight: optional, T. the last `dims` dims of x; absent: 1
        bias: optional, T. as weight; absent: 0

    Attributes:
        dims: int (default 1). how many last dims are normalised together
        eps: float (default 1e-05). added to the variance

    Outputs:
        y: T. as x
        mean: S. the leading dims of x: kept for the gradient
        rstd: S. the leading dims of x: 1 / sqrt(mean square + eps), kept for the gradient

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def layer_norm_grad(
    x: Tensor,
    dy: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None = ...,
    *,
    dims: int = ...,
) -> Tensor:
    """
    dx of the normalisation from what its forward op kept.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, as x
        mean: S. the forward op's mean
        rstd: S. the forward op's rstd
        weight: optional, T. the forward op's weight

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dx: T. as x

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def layer_norm_weight_grad(
    x: Tensor,
    dy: Tensor,
    mean: Tensor,
    rstd: Tensor,
    *,
    dims: int = ...,
) -> tuple[Tensor, Tensor]:
    """
    Gradients of weight (and bias) from what the forward op kept: sums over all rows.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, as x
        mean: S. the forward op's mean
        rstd: S. the forward op's rstd

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dweight: T. the last `dims` dims of x
        dbias: T. as dweight

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def le(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a <= b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def leaky_relu(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x where x > 0, else value * x.

    Inputs:
        x: T. any shape

    Attributes:
        value: float. the slope below 0

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def leaky_relu_grad(
    x: Tensor,
    dy: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    dx of leaky_relu from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Attributes:
        value: float. the slope below 0

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def lgamma(
    x: Tensor,
) -> Tensor:
    """
    y = ln |gamma(x)|, inf at 0 and at the negative integers.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def lgamma_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of lgamma from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def log(
    x: Tensor,
) -> Tensor:
    """
    y = ln x, -inf at 0, nan below.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def log10(
    x: Tensor,
) -> Tensor:
    """
    y = log10 x, -inf at 0, nan below.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def log10_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of log10 from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def log1p(
    x: Tensor,
) -> Tensor:
    """
    y = ln(1 + x), exact near 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def log1p_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of log1p from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def log2(
    x: Tensor,
) -> Tensor:
    """
    y = log2 x, -inf at 0, nan below.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def log2_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of log2 from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def log_softmax(
    x: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y = x - max - log(sum(exp(x - max))) along dim.

    Inputs:
        x: T. logits, rank >= 1

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16
    """

def log_softmax_grad(
    y: Tensor,
    dy: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    dx = dy - exp(y) * sum(dy) along dim.

    Inputs:
        y: T. the forward op's result
        dy: T. gradient of y

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        dx: T. as y

    Types:
        T: f32|f64|bf16|f16
    """

def logical_and(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a != 0 and b != 0.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def logical_or(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a != 0 or b != 0.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def logical_xor(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = one of a != 0 and b != 0 alone.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def logsigmoid(
    x: Tensor,
) -> Tensor:
    """
    y = ln sigmoid(x).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def logsigmoid_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of logsigmoid from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def lt(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a < b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def matmul(
    a: Tensor,
    b: Tensor,
    *,
    transpose_a: bool = ...,
    transpose_b: bool = ...,
) -> Tensor:
    """
    Matrix product over the last two dims; leading dims are a batch and broadcast. Accumulates in float32.

    Inputs:
        a: T. [..., m, k], or [..., k, m] with transpose_a
        b: T. [..., k, n], or [..., n, k] with transpose_b

    Attributes:
        transpose_a: bool (default False). a's last two dims are swapped
        transpose_b: bool (default False). b's last two dims are swapped

    Outputs:
        y: T. [..., m, n]

    Types:
        T: f32|f64|bf16|f16
    """

def max_pool2d(
    x: Tensor,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = ...,
) -> Tensor:
    """
    Largest element of each window; padding counts as -inf.

    Inputs:
        x: T. images [n, h, w, c]

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel

    Outputs:
        y: T. [n, p, q, c] with p = (h + 2 padding - kernel) / stride + 1

    Types:
        T: f32|f64|bf16|f16
    """

def max_pool2d_grad(
    x: Tensor,
    y: Tensor,
    dy: Tensor,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = ...,
) -> Tensor:
    """
    Gradient of max_pool2d: dy goes to the first largest element of its window, row by row.

    Inputs:
        x: T. images [n, h, w, c]
        y: T. the pooled images [n, p, q, c]
        dy: T. gradient of y

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel

    Outputs:
        dx: T. as x

    Types:
        T: f32|f64|bf16|f16
    """

def maximum(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the larger of a and b; nan if one is nan.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def minimum(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the smaller of a and b; nan if one is nan.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def mish(
    x: Tensor,
) -> Tensor:
    """
    y = x * tanh(softplus(x)).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def mish_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of mish from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def mul(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a * b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def mul_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x * value. With sum it makes means: the count is the logical one, under any cut.

    Inputs:
        x: T. any shape

    Attributes:
        value: float. the number, converted to the dtype of x

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def ne(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a != b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: bool. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def neg(
    x: Tensor,
) -> Tensor:
    """
    y = -x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def normal(
    x: Tensor,
    step: Tensor,
    *,
    seed: int,
    key: int,
) -> Tensor:
    """
    Normal numbers of mean 0 and variance 1, by Box-Muller from the bits of uniform: two neighbours share two words.

    Inputs:
        x: T. any shape: only that counts, and the element type
        step: i64. 0-d, number of the step: other numbers each step

    Attributes:
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16
    """

def permute(
    x: Tensor,
    *,
    dims: Sequence[int],
) -> Tensor:
    """
    Dims in another order: dim i of y is dim dims[i] of x.

    Inputs:
        x: T. any shape

    Attributes:
        dims: ints. a permutation of 0 .. rank - 1

    Outputs:
        y: T. y.shape[i] = x.shape[dims[i]]

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def pow(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a ^ b, as C's pow has it: nan where a < 0 and b is no integer.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16
    """

def pow_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x ^ value, as C's pow has it: nan where x < 0 and value is no integer.

    Inputs:
        x: T. any shape

    Attributes:
        value: float. the exponent

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def reciprocal(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def reciprocal_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of reciprocal from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def relu(
    x: Tensor,
) -> Tensor:
    """
    y = max(x, 0); nan stays nan. Its gradient at 0 is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def relu6(
    x: Tensor,
) -> Tensor:
    """
    y = clamp(x, 0, 6).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def relu6_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of relu6 from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def relu_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of relu from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def remainder(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the rest of a / b rounded down, with the sign of b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def reshape(
    x: Tensor,
    *,
    shape: Sequence[int],
) -> Tensor:
    """
    The same elements in row-major order under another shape. Moves no bytes.

    Inputs:
        x: T. any shape

    Attributes:
        shape: ints. the new shape; its product is the number of elements of x

    Outputs:
        y: T. shape as the attribute says

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def rms_norm(
    x: Tensor,
    weight: Tensor | None = ...,
    *,
    dims: int = ...,
    eps: float = ...,
) -> tuple[Tensor, Tensor]:
    """
    y = x / sqrt(mean(x^2) + eps) * weight over the last dims; statistics in float32.

    Inputs:
        x: T. any shape of rank >= `dims`
        weight: optional, T. the last `dims` dims of x; absent: 1

    Attributes:
        dims: int (default 1). how many last dims are normalised together
        eps: float (default 1e-05). added to the variance

    Outputs:
        y: T. as x
        rstd: S. the leading dims of x: 1 / sqrt(mean square + eps), kept for the gradient

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def rms_norm_grad(
    x: Tensor,
    dy: Tensor,
    rstd: Tensor,
    weight: Tensor | None = ...,
    *,
    dims: int = ...,
) -> Tensor:
    """
    dx of the normalisation from what its forward op kept.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, as x
        rstd: S. the forward op's rstd
        weight: optional, T. the forward op's weight

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dx: T. as x

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def rms_norm_weight_grad(
    x: Tensor,
    dy: Tensor,
    rstd: Tensor,
    *,
    dims: int = ...,
) -> Tensor:
    """
    Gradients of weight (and bias) from what the forward op kept: sums over all rows.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, as x
        rstd: S. the forward op's rstd

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dweight: T. the last `dims` dims of x

    Types:
        T: f32|f64|bf16|f16
        S: f32|f64, given by T
    """

def round(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded, halves to even. Its gradient is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def rsqrt(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / sqrt(x).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def running_update(
    running: Tensor,
    stats: Tensor,
    *,
    momentum: float,
    steps: int = ...,
) -> Tensor:
    """
    Folds the statistics of each micro-batch into a running one, in order: steps times running = (1 - momentum) * running + momentum * stats[i].

    Inputs:
        running: T. [c]
        stats: T. [steps, c]

    Attributes:
        momentum: float. weight of the new statistic, 0 .. 1
        steps: int (default 1). micro-batches of a step: the first extent of stats

    Outputs:
        updated: T. as running

    Types:
        T: f32|f64
    """

def scatter_add(
    x: Tensor,
    index: Tensor,
    src: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y is x; then y[i][index[i][j][k]][k] += src[i][j][k] for dim 1, in order of j. An index outside of x is a DataError.

    Inputs:
        x: T. any shape of rank >= 1
        index: i64|i32. of x's rank, nowhere longer but along dim
        src: T. the shape of index

    Attributes:
        dim: int. the dim that index points into

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def sgd_update(
    p: Tensor,
    g: Tensor,
    lr: Tensor,
    step: Tensor,
    m: Tensor | None = ...,
    *,
    momentum: float = ...,
    weight_decay: float = ...,
    dampening: float = ...,
    nesterov: bool = ...,
) -> tuple[Tensor, Tensor]:
    """
    One step of stochastic gradient descent, as torch.optim.SGD has it: g += weight_decay p; m = g at step 0, else momentum m + (1 - dampening) g; p -= lr (g + momentum m if nesterov, else m). Without momentum m is g and has no slot.

    Inputs:
        p: T. the parameter, any shape
        g: G. its gradient, of the shape of p; a narrow one is widened as it is read
        lr: f32. 0-d, learning rate
        step: i64. 0-d, steps done before this one
        m: optional, T. momentum slot, as p; present if and only if momentum != 0

    Attributes:
        momentum: float (default 0.0). >= 0
        weight_decay: float (default 0.0). L2 penalty, added to the gradient
        dampening: float (default 0.0). share of the gradient that does not enter the momentum
        nesterov: bool (default False). look one step ahead

    Outputs:
        p: T. the new parameter
        m: T. the new slot, if there is one

    Types:
        T: f32
        G: f32|bf16|f16
    """

def sigmoid(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / (1 + e^-x).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def sigmoid_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of sigmoid from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def sign(
    x: Tensor,
) -> Tensor:
    """
    y = -1, 0 or 1; nan stays nan. Its gradient is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def silu(
    x: Tensor,
) -> Tensor:
    """
    y = x * sigmoid(x).

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def silu_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of silu from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def sin(
    x: Tensor,
) -> Tensor:
    """
    y = sin x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def sin_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of sin from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def sinh(
    x: Tensor,
) -> Tensor:
    """
    y = sinh x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def sinh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of sinh from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def slice(
    x: Tensor,
    *,
    dim: int,
    start: int,
    stop: int,
    step: int = ...,
) -> Tensor:
    """
    Every step-th element of a dim from start up to stop.

    Inputs:
        x: T. any shape of rank >= 1

    Attributes:
        dim: int. the dim that is cut
        start: int. first index, >= 0
        stop: int. end, not included, <= extent
        step: int (default 1). >= 1

    Outputs:
        y: T. extent of `dim` is ceil((stop - start) / step), the rest as x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def slice_grad(
    dy: Tensor,
    *,
    dim: int,
    start: int,
    stop: int,
    step: int = ...,
    extent: int,
) -> Tensor:
    """
    Gradient of slice: dy at the elements that were taken, 0 elsewhere.

    Inputs:
        dy: T. gradient of the slice

    Attributes:
        dim: int. the dim that was cut
        start: int. first index, >= 0
        stop: int. end, not included, <= extent
        step: int (default 1). >= 1
        extent: int. extent of the dim before the slice

    Outputs:
        dx: T. extent of `dim` as the attribute says, the rest as dy

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def softmax(
    x: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y = exp(x - max) / sum(exp(x - max)) along dim.

    Inputs:
        x: T. logits, rank >= 1

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16
    """

def softmax_grad(
    y: Tensor,
    dy: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    dx = y * (dy - sum(dy * y)) along dim.

    Inputs:
        y: T. the forward op's result
        dy: T. gradient of y

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        dx: T. as y

    Types:
        T: f32|f64|bf16|f16
    """

def softplus(
    x: Tensor,
) -> Tensor:
    """
    y = ln(1 + e^x), without overflow for large x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def softplus_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of softplus from its x and dy.

    Inputs:
        x: T. the forward op's x
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def sort(
    x: Tensor,
    *,
    dim: int,
    descending: bool = ...,
) -> tuple[Tensor, Tensor]:
    """
    Elements along dim in ascending or descending order, and where each stood; equal ones keep their order, nan counts as the greatest.

    Inputs:
        x: T. any shape of rank >= 1

    Attributes:
        dim: int. the dim along which elements are ordered
        descending: bool (default False). the greatest first

    Outputs:
        values: T. as x
        indices: i64. the shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def sqrt(
    x: Tensor,
) -> Tensor:
    """
    y = sqrt(x), nan below 0. Its gradient at 0 is inf.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def square(
    x: Tensor,
) -> Tensor:
    """
    y = x * x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def stop_gradient(
    x: Tensor,
) -> Tensor:
    """
    y = x, and no gradient goes through it. Moves no bytes.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """

def sub(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a - b.

    Inputs:
        a: T. any shape
        b: T. its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def sum(
    x: Tensor,
    *,
    dims: Sequence[int],
    keepdim: bool = ...,
) -> Tensor:
    """
    Sum over dims. Floats add in float32, in an order fixed by the shape.

    Inputs:
        x: T. any shape

    Attributes:
        dims: ints. dims to reduce, each once
        keepdim: bool (default False). keep reduced dims as extent 1

    Outputs:
        y: T. x without `dims`, or with extent 1 there if keepdim

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8
    """

def tan(
    x: Tensor,
) -> Tensor:
    """
    y = tan x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def tan_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of tan from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def tanh(
    x: Tensor,
) -> Tensor:
    """
    y = tanh x.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def tanh_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of tanh from its y and dy.

    Inputs:
        y: T. the forward op's y
        dy: T. gradient of y, shape of x

    Outputs:
        dx: T. gradient of x, shape of dy

    Types:
        T: f32|f64|bf16|f16
    """

def trunc(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded towards zero. Its gradient is 0.

    Inputs:
        x: T. any shape

    Outputs:
        y: T. shape of x

    Types:
        T: f32|f64|bf16|f16
    """

def uniform(
    x: Tensor,
    step: Tensor,
    *,
    seed: int,
    key: int,
) -> Tensor:
    """
    Numbers in [0, 1): the leading bits of Philox4x32-10 keyed by (seed, key, step, logical element index).

    Inputs:
        x: T. any shape: only that counts, and the element type
        step: i64. 0-d, number of the step: other numbers each step

    Attributes:
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        y: T. as x

    Types:
        T: f32|f64|bf16|f16
    """

def where(
    c: Tensor,
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a where c is true, else b.

    Inputs:
        c: bool. the condition; its shape broadcasts with a's and b's
        a: T. any shape
        b: T. its shape broadcasts with a's

    Outputs:
        y: T. the broadcast shape

    Types:
        T: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool
    """
