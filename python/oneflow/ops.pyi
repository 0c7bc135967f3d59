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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def abs_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of abs from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def acos(
    x: Tensor,
) -> Tensor:
    """
    y = arccos x, nan outside [-1, 1].

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def acos_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of acos from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def acosh(
    x: Tensor,
) -> Tensor:
    """
    y = arcosh x, nan below 1.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def acosh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of acosh from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        p: f32. the parameter, any shape
        g: f32. its gradient, as p
        m: f32. first-moment slot, as p
        v: f32. second-moment slot, as p
        lr: f32. 0-d, learning rate
        step: i64. 0-d, steps done before this one

    Attributes:
        beta1: float (default 0.9). decay of m, 0 <= beta1 < 1
        beta2: float (default 0.999). decay of v, 0 <= beta2 < 1
        eps: float (default 1e-08). keeps the quotient finite
        weight_decay: float (default 0.01). decoupled: scales p, not g

    Outputs:
        p: the new parameter
        m: the new first moment
        v: the new second moment
    """

def add(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a + b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def add_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x + value.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Attributes:
        value: float. the number, converted to the dtype of x

    Outputs:
        y: shape and dtype of x
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Attributes:
        dims: ints. dims to reduce, each once
        keepdim: bool (default False). keep reduced dims as extent 1

    Outputs:
        y: x without `dims`, or with extent 1 there if keepdim; dtype of x
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
        y: i64; x without `dim`, or with extent 1 there if keepdim
    """

def asin(
    x: Tensor,
) -> Tensor:
    """
    y = arcsin x, nan outside [-1, 1].

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def asin_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of asin from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def asinh(
    x: Tensor,
) -> Tensor:
    """
    y = arsinh x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def asinh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of asinh from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def atan(
    x: Tensor,
) -> Tensor:
    """
    y = arctan x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def atan2(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the angle of the point (b, a), in (-pi, pi].

    Inputs:
        a: f32|f64|bf16|f16. any shape
        b: f32|f64|bf16|f16. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def atan_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of atan from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def atanh(
    x: Tensor,
) -> Tensor:
    """
    y = artanh x, nan outside [-1, 1].

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def atanh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of atanh from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        x: f32. images [n, h, w, c]

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel

    Outputs:
        y: [n, p, q, c] with p = (h + 2 padding - kernel) / stride + 1
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
        dy: f32. gradient of the pooled images [n, p, q, c]

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel
        h: int. height of the images
        w: int. width of the images

    Outputs:
        dx: [n, h, w, c]
    """

def bitwise_and(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the bits that are set in a and in b.

    Inputs:
        a: i64|i32|i16|i8|u8|bool. any shape
        b: i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def bitwise_or(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the bits that are set in a or in b.

    Inputs:
        a: i64|i32|i16|i8|u8|bool. any shape
        b: i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def bitwise_xor(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the bits in which a and b differ.

    Inputs:
        a: i64|i32|i16|i8|u8|bool. any shape
        b: i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
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
        x: f32. [n, ..., c]; n a multiple of groups
        mean: f32. [groups, c], dtype of x
        rstd: f32. [groups, c], 1 / sqrt(variance + eps)
        weight: f32. [c]
        bias: f32. [c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own
        count: int (default 0). > 0: mean and rstd are x's own statistics over so many elements each, and the gradient of x goes through them; 0: they are given numbers

    Outputs:
        y: as x
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
        x: f32. [n, ..., c]; n a multiple of groups
        dy: f32. gradient of y, as x
        mean: f32. [groups, c]
        rstd: f32. [groups, c]
        weight: f32. [c]
        sum_dy: f32. [groups, c]
        sum_dy_xhat: f32. [groups, c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own
        count: int. logical elements of one statistic, also on a shard

    Outputs:
        dx: as x
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
        x: f32. [n, ..., c]; n a multiple of groups
        dy: f32. gradient of y, as x
        mean: f32. [groups, c]
        rstd: f32. [groups, c]

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own

    Outputs:
        sum_dy: [groups, c]
        sum_dy_xhat: [groups, c]
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
        x: f32. [n, ..., c]; n a multiple of groups
        mean: f32. [groups, c], dtype of x

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own

    Outputs:
        sum: [groups, c]
    """

def bn_sum(
    x: Tensor,
    *,
    groups: int = ...,
) -> Tensor:
    """
    Sum of each channel over the samples of each group.

    Inputs:
        x: f32. [n, ..., c]; n a multiple of groups

    Attributes:
        groups: int (default 1). G: groups of successive samples with statistics of their own

    Outputs:
        sum: [groups, c]
    """

def broadcast_to(
    x: Tensor,
    *,
    shape: Sequence[int],
) -> Tensor:
    """
    x repeated along new leading dims and along dims of extent 1.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. a shape that broadcasts to `shape`, dims aligned from the right

    Attributes:
        shape: ints. the target shape

    Outputs:
        y: shape as the attribute says, dtype of x
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
        y: shape of x, dtype as the attribute says
    """

def cat(
    *tensors: Tensor,
    dim: int,
) -> Tensor:
    """
    Tensors one after the other along a dim.

    Inputs:
        tensors: one or more, f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. one or more of one dtype; shapes equal except in `dim`

    Attributes:
        dim: int. the dim

    Outputs:
        y: extent of `dim` is the sum, the rest as the inputs
    """

def ceil(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded up. Its gradient is 0.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
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
        y: dtype and shape as the attributes say, every element `value`
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
        x: f32. images [n, h, w, in]
        weight: f32. [out, in / groups, kh, kw], dtype of x

    Attributes:
        stride: ints (default [1, 1]). [height, width], >= 1
        padding: ints (default [0, 0]). zeros on each side, [height, width]
        dilation: ints (default [1, 1]). [height, width], >= 1
        groups: int (default 1). channels are cut into so many independent groups

    Outputs:
        y: [n, p, q, out] with p = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1
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
        dy: f32. gradient of the result [n, p, q, out]
        weight: f32. [out, in / groups, kh, kw], dtype of dy

    Attributes:
        stride: ints (default [1, 1]). [height, width], >= 1
        padding: ints (default [0, 0]). zeros on each side, [height, width]
        dilation: ints (default [1, 1]). [height, width], >= 1
        groups: int (default 1). channels are cut into so many independent groups
        h: int. height of the images
        w: int. width of the images

    Outputs:
        dx: [n, h, w, in]
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
        x: f32. images [n, h, w, in]
        dy: f32. gradient of the result [n, p, q, out], dtype of x

    Attributes:
        stride: ints (default [1, 1]). [height, width], >= 1
        padding: ints (default [0, 0]). zeros on each side, [height, width]
        dilation: ints (default [1, 1]). [height, width], >= 1
        groups: int (default 1). channels are cut into so many independent groups
        kh: int. height of the kernel
        kw: int. width of the kernel

    Outputs:
        dweight: [out, in / groups, kh, kw]
    """

def cos(
    x: Tensor,
) -> Tensor:
    """
    y = cos x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def cos_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of cos from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def cosh(
    x: Tensor,
) -> Tensor:
    """
    y = cosh x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def cosh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of cosh from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def cross_entropy(
    logits: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """
    Negative log-likelihood of each sample's class: loss[i] = -log_softmax(logits[i])[labels[i]]. A label outside of 0 .. classes - 1 is a DataError.

    Inputs:
        logits: f32|f64. [n, classes]
        labels: i64. [n], class indices

    Outputs:
        loss: [n], dtype of logits
        log_probs: [n, classes], log_softmax of logits: kept for the gradient
    """

def cross_entropy_grad(
    log_probs: Tensor,
    labels: Tensor,
    dloss: Tensor,
) -> Tensor:
    """
    Gradient of cross_entropy: dlogits[i] = dloss[i] * (softmax(logits[i]) - onehot(labels[i])).

    Inputs:
        log_probs: f32|f64. [n, classes], second result of cross_entropy
        labels: i64. [n], class indices
        dloss: f32|f64. [n], gradient of the loss of each sample

    Outputs:
        dlogits: as log_probs
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape of rank >= 1

    Attributes:
        dim: int. the dim along which elements are added
        reverse: bool (default False). add from the end

    Outputs:
        y: as x
    """

def div(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a / b.

    Inputs:
        a: f32|f64|bf16|f16. any shape
        b: f32|f64|bf16|f16. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
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
        x: f32|f64|bf16|f16. any shape
        step: i64. 0-d, number of the step: another mask each step

    Attributes:
        p: float. probability of a zero, 0 <= p <= 1
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        y: as x
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
        dy: f32|f64|bf16|f16. any shape
        step: i64. 0-d, number of the step: another mask each step

    Attributes:
        p: float. probability of a zero, 0 <= p <= 1
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        dx: as dy
    """

def elu(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x where x > 0, else value * (e^x - 1).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Attributes:
        value: float. the limit for x to -inf is -value

    Outputs:
        y: shape and dtype of x
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
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Attributes:
        value: float. the limit for x to -inf is -value

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        weight: f32|f64|bf16|f16. [rows, features]
        index: i64|i32. any shape

    Attributes:
        padding_idx: int (default -1). the row that gets no gradient; -1: every row does

    Outputs:
        y: the shape of index with features behind it, dtype of weight
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
        dy: f32|f64|bf16|f16. the shape of index with features behind it
        index: i64|i32. any shape

    Attributes:
        rows: int. rows of the table
        padding_idx: int (default -1). the row that gets no gradient

    Outputs:
        dweight: [rows, features], dtype of dy
    """

def eq(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a == b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def erf(
    x: Tensor,
) -> Tensor:
    """
    y = the error function of x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def erf_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of erf from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def exp(
    x: Tensor,
) -> Tensor:
    """
    y = e^x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def exp2(
    x: Tensor,
) -> Tensor:
    """
    y = 2^x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def exp2_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of exp2 from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def expm1(
    x: Tensor,
) -> Tensor:
    """
    y = e^x - 1, exact near 0.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def expm1_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of expm1 from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def floor(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded down. Its gradient is 0.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def floor_divide(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a / b rounded down; an integer by zero gives 0.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def fmod(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the rest of a / b cut towards zero, with the sign of a.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape of rank >= 1
        index: i64|i32. of x's rank, nowhere longer but along dim

    Attributes:
        dim: int. the dim that index points into

    Outputs:
        y: the shape of index, dtype of x
    """

def ge(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a >= b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def gelu(
    x: Tensor,
) -> Tensor:
    """
    y = x * (1 + erf(x / sqrt 2)) / 2.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def gelu_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of gelu from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def gelu_tanh(
    x: Tensor,
) -> Tensor:
    """
    y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def gelu_tanh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of gelu_tanh from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def gt(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a > b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def hardsigmoid(
    x: Tensor,
) -> Tensor:
    """
    y = clamp(x / 6 + 1/2, 0, 1).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def hardsigmoid_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of hardsigmoid from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def hardswish(
    x: Tensor,
) -> Tensor:
    """
    y = x * hardsigmoid(x).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def hardswish_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of hardswish from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        x: f32|f64|bf16|f16. any shape of rank >= `dims`
        weight: optional, f32|f64|bf16|f16. the last `dims` dims of x, its dtype; absent: 1
        bias: optional, f32|f64|bf16|f16. as weight; absent: 0

    Attributes:
        dims: int (default 1). how many last dims are normalised together
        eps: float (default 1e-05). added to the variance

    Outputs:
        y: as x
        mean: the leading dims of x, f32 (f64 for f64): kept for the gradient
        rstd: the leading dims of x: 1 / sqrt(mean square + eps), kept for the gradient
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
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, as x
        mean: f32|f64. the forward op's mean
        rstd: f32|f64. the forward op's rstd
        weight: optional, f32|f64|bf16|f16. the forward op's weight

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dx: as x
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
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, as x
        mean: f32|f64. the forward op's mean
        rstd: f32|f64. the forward op's rstd

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dweight: the last `dims` dims of x
        dbias: as dweight
    """

def le(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a <= b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def leaky_relu(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x where x > 0, else value * x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Attributes:
        value: float. the slope below 0

    Outputs:
        y: shape and dtype of x
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
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Attributes:
        value: float. the slope below 0

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def log(
    x: Tensor,
) -> Tensor:
    """
    y = ln x, -inf at 0, nan below.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def log10(
    x: Tensor,
) -> Tensor:
    """
    y = log10 x, -inf at 0, nan below.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def log10_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of log10 from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def log1p(
    x: Tensor,
) -> Tensor:
    """
    y = ln(1 + x), exact near 0.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def log1p_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of log1p from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def log2(
    x: Tensor,
) -> Tensor:
    """
    y = log2 x, -inf at 0, nan below.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def log2_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of log2 from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def log_softmax(
    x: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y = x - max - log(sum(exp(x - max))) along dim.

    Inputs:
        x: f32|f64|bf16|f16. logits, rank >= 1

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        y: as x
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
        y: f32|f64|bf16|f16. the forward op's result
        dy: f32|f64. gradient of y

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        dx: as y
    """

def logical_and(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a != 0 and b != 0.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def logical_or(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a != 0 or b != 0.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def logical_xor(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = one of a != 0 and b != 0 alone.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def logsigmoid(
    x: Tensor,
) -> Tensor:
    """
    y = ln sigmoid(x).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def logsigmoid_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of logsigmoid from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def lt(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a < b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
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
        a: f32|f64|bf16|f16. [..., m, k], or [..., k, m] with transpose_a
        b: f32|f64|bf16|f16. [..., k, n], or [..., n, k] with transpose_b; dtype of a

    Attributes:
        transpose_a: bool (default False). a's last two dims are swapped
        transpose_b: bool (default False). b's last two dims are swapped

    Outputs:
        y: [..., m, n], dtype of a and b
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
        x: f32. images [n, h, w, c]

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel

    Outputs:
        y: [n, p, q, c] with p = (h + 2 padding - kernel) / stride + 1
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
        x: f32. images [n, h, w, c]
        y: f32. the pooled images [n, p, q, c]
        dy: f32. gradient of y

    Attributes:
        kernel: ints. [height, width], >= 1
        stride: ints. [height, width], >= 1
        padding: ints (default [0, 0]). on each side, [height, width], at most half the kernel

    Outputs:
        dx: as x
    """

def maximum(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the larger of a and b; nan if one is nan.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def minimum(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the smaller of a and b; nan if one is nan.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def mish(
    x: Tensor,
) -> Tensor:
    """
    y = x * tanh(softplus(x)).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def mish_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of mish from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def mul(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a * b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def mul_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x * value. With sum it makes means: the count is the logical one, under any cut.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Attributes:
        value: float. the number, converted to the dtype of x

    Outputs:
        y: shape and dtype of x
    """

def ne(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a != b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def neg(
    x: Tensor,
) -> Tensor:
    """
    y = -x.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def permute(
    x: Tensor,
    *,
    dims: Sequence[int],
) -> Tensor:
    """
    Dims in another order: dim i of y is dim dims[i] of x.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape

    Attributes:
        dims: ints. a permutation of 0 .. rank - 1

    Outputs:
        y: y.shape[i] = x.shape[dims[i]], dtype of x
    """

def pow(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a ^ b, as C's pow has it: nan where a < 0 and b is no integer.

    Inputs:
        a: f32|f64|bf16|f16. any shape
        b: f32|f64|bf16|f16. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def pow_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x ^ value, as C's pow has it: nan where x < 0 and value is no integer.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Attributes:
        value: float. the exponent

    Outputs:
        y: shape and dtype of x
    """

def reciprocal(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def reciprocal_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of reciprocal from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def relu(
    x: Tensor,
) -> Tensor:
    """
    y = max(x, 0); nan stays nan. Its gradient at 0 is 0.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def relu_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of relu from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def remainder(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = the rest of a / b rounded down, with the sign of b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def reshape(
    x: Tensor,
    *,
    shape: Sequence[int],
) -> Tensor:
    """
    The same elements in row-major order under another shape. Moves no bytes.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape

    Attributes:
        shape: ints. the new shape; its product is the number of elements of x

    Outputs:
        y: shape as the attribute says, dtype of x
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
        x: f32|f64|bf16|f16. any shape of rank >= `dims`
        weight: optional, f32|f64|bf16|f16. the last `dims` dims of x, its dtype; absent: 1

    Attributes:
        dims: int (default 1). how many last dims are normalised together
        eps: float (default 1e-05). added to the variance

    Outputs:
        y: as x
        rstd: the leading dims of x: 1 / sqrt(mean square + eps), kept for the gradient
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
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, as x
        rstd: f32|f64. the forward op's rstd
        weight: optional, f32|f64|bf16|f16. the forward op's weight

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dx: as x
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
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, as x
        rstd: f32|f64. the forward op's rstd

    Attributes:
        dims: int (default 1). how many last dims are normalised together

    Outputs:
        dweight: the last `dims` dims of x
    """

def round(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded, halves to even. Its gradient is 0.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def rsqrt(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / sqrt(x).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
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
        running: f32. [c]
        stats: f32. [steps, c], dtype of running

    Attributes:
        momentum: float. weight of the new statistic, 0 .. 1
        steps: int (default 1). micro-batches of a step: the first extent of stats

    Outputs:
        updated: as running
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape of rank >= 1
        index: i64|i32. of x's rank, nowhere longer but along dim
        src: f32|f64|bf16|f16|i64|i32|i16|i8|u8. the shape of index, dtype of x

    Attributes:
        dim: int. the dim that index points into

    Outputs:
        y: as x
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
        p: f32. the parameter, any shape
        g: f32. its gradient, as p
        lr: f32. 0-d, learning rate
        step: i64. 0-d, steps done before this one
        m: optional, f32. momentum slot, as p; present if and only if momentum != 0

    Attributes:
        momentum: float (default 0.0). >= 0
        weight_decay: float (default 0.0). L2 penalty, added to the gradient
        dampening: float (default 0.0). share of the gradient that does not enter the momentum
        nesterov: bool (default False). look one step ahead

    Outputs:
        p: the new parameter
        m: the new slot, if there is one
    """

def sigmoid(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / (1 + e^-x).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def sigmoid_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of sigmoid from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def sign(
    x: Tensor,
) -> Tensor:
    """
    y = -1, 0 or 1; nan stays nan. Its gradient is 0.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def silu(
    x: Tensor,
) -> Tensor:
    """
    y = x * sigmoid(x).

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def silu_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of silu from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def sin(
    x: Tensor,
) -> Tensor:
    """
    y = sin x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def sin_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of sin from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def sinh(
    x: Tensor,
) -> Tensor:
    """
    y = sinh x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def sinh_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of sinh from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape of rank >= 1

    Attributes:
        dim: int. the dim that is cut
        start: int. first index, >= 0
        stop: int. end, not included, <= extent
        step: int (default 1). >= 1

    Outputs:
        y: extent of `dim` is ceil((stop - start) / step), the rest as x
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
        dy: f32|f64|bf16|f16|i64|i32|i16|i8|u8. gradient of the slice

    Attributes:
        dim: int. the dim that was cut
        start: int. first index, >= 0
        stop: int. end, not included, <= extent
        step: int (default 1). >= 1
        extent: int. extent of the dim before the slice

    Outputs:
        dx: extent of `dim` as the attribute says, the rest as dy
    """

def softmax(
    x: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y = exp(x - max) / sum(exp(x - max)) along dim.

    Inputs:
        x: f32|f64|bf16|f16. logits, rank >= 1

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        y: as x
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
        y: f32|f64|bf16|f16. the forward op's result
        dy: f32|f64. gradient of y

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        dx: as y
    """

def softplus(
    x: Tensor,
) -> Tensor:
    """
    y = ln(1 + e^x), without overflow for large x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def softplus_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of softplus from its x and dy.

    Inputs:
        x: f32|f64|bf16|f16. the forward op's x
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape of rank >= 1

    Attributes:
        dim: int. the dim along which elements are ordered
        descending: bool (default False). the greatest first

    Outputs:
        values: as x
        indices: the shape of x, i64
    """

def sqrt(
    x: Tensor,
) -> Tensor:
    """
    y = sqrt(x), nan below 0. Its gradient at 0 is inf.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def square(
    x: Tensor,
) -> Tensor:
    """
    y = x * x.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def stop_gradient(
    x: Tensor,
) -> Tensor:
    """
    y = x, and no gradient goes through it. Moves no bytes.

    Inputs:
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape

    Outputs:
        y: shape and dtype of x
    """

def sub(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a - b.

    Inputs:
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
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
        x: f32|f64|bf16|f16|i64|i32|i16|i8|u8. any shape

    Attributes:
        dims: ints. dims to reduce, each once
        keepdim: bool (default False). keep reduced dims as extent 1

    Outputs:
        y: x without `dims`, or with extent 1 there if keepdim; dtype of x
    """

def tan(
    x: Tensor,
) -> Tensor:
    """
    y = tan x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def tan_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of tan from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def tanh(
    x: Tensor,
) -> Tensor:
    """
    y = tanh x.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
    """

def tanh_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx of tanh from its y and dy.

    Inputs:
        y: f32|f64|bf16|f16. the forward op's y
        dy: f32|f64|bf16|f16. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def trunc(
    x: Tensor,
) -> Tensor:
    """
    y = x rounded towards zero. Its gradient is 0.

    Inputs:
        x: f32|f64|bf16|f16. any shape

    Outputs:
        y: shape and dtype of x
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
        a: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. any shape
        b: f32|f64|bf16|f16|i64|i32|i16|i8|u8|bool. dtype of a; broadcasts

    Outputs:
        y: the broadcast shape, dtype of a and b
    """
