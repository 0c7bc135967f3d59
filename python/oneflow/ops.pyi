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
        x: f32|i64|i32|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def abs_grad(
    x: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx = dy * sign(x), 0 at x == 0.

    Inputs:
        x: f32. the forward op's x
        dy: f32. gradient of y, shape of x

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
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

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
        x: f32|i64|i32|i8|u8. any shape

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
        x: f32|i64|i32|i8|u8. any shape

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
        x: f32|i64|i32|i8|u8. any shape of rank >= 1

    Attributes:
        dim: int. the dim
        keepdim: bool (default False). keep the dim as extent 1

    Outputs:
        y: i64; x without `dim`, or with extent 1 there if keepdim
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
        x: f32|i64|i32|i8|u8|bool. a shape that broadcasts to `shape`, dims aligned from the right

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
        x: f32|i64|i32|i8|u8|bool. any shape

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
        tensors: one or more, f32|i64|i32|i8|u8|bool. one or more of one dtype; shapes equal except in `dim`

    Attributes:
        dim: int. the dim

    Outputs:
        y: extent of `dim` is the sum, the rest as the inputs
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

def cross_entropy(
    logits: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """
    Negative log-likelihood of each sample's class: loss[i] = -log_softmax(logits[i])[labels[i]]. A label outside of 0 .. classes - 1 is a DataError.

    Inputs:
        logits: f32. [n, classes]
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
        log_probs: f32. [n, classes], second result of cross_entropy
        labels: i64. [n], class indices
        dloss: f32. [n], gradient of the loss of each sample

    Outputs:
        dlogits: as log_probs
    """

def div(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a / b.

    Inputs:
        a: f32. any shape
        b: f32. dtype of a; its shape broadcasts with a's, dims aligned from the right

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
        x: f32. any shape
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
        dy: f32. any shape
        step: i64. 0-d, number of the step: another mask each step

    Attributes:
        p: float. probability of a zero, 0 <= p <= 1
        seed: int. seed of the run
        key: int. names the call site: module path and occurrence, hashed

    Outputs:
        dx: as dy
    """

def eq(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a == b.

    Inputs:
        a: f32|i64|i32|i8|u8|bool. any shape
        b: f32|i64|i32|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def exp(
    x: Tensor,
) -> Tensor:
    """
    y = e^x.

    Inputs:
        x: f32. any shape

    Outputs:
        y: shape and dtype of x
    """

def ge(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a >= b.

    Inputs:
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def gt(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a > b.

    Inputs:
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def le(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a <= b.

    Inputs:
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def log(
    x: Tensor,
) -> Tensor:
    """
    y = ln x, -inf at 0, nan below.

    Inputs:
        x: f32. any shape

    Outputs:
        y: shape and dtype of x
    """

def log_softmax(
    x: Tensor,
    *,
    dim: int,
) -> Tensor:
    """
    y = x - max - log(sum(exp(x - max))) along dim.

    Inputs:
        x: f32. logits, rank >= 1

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
        y: f32. the forward op's result
        dy: f32. gradient of y

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
    y = a and b.

    Inputs:
        a: bool. any shape
        b: bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def lt(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a < b.

    Inputs:
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

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
        a: f32. [..., m, k], or [..., k, m] with transpose_a
        b: f32. [..., k, n], or [..., n, k] with transpose_b; dtype of a

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
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

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
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def mul(
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """
    y = a * b.

    Inputs:
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

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
        x: f32|i64|i32|i8|u8. any shape

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
        a: f32|i64|i32|i8|u8|bool. any shape
        b: f32|i64|i32|i8|u8|bool. dtype of a; its shape broadcasts with a's, dims aligned from the right

    Outputs:
        y: the broadcast shape, dtype of a and b
    """

def neg(
    x: Tensor,
) -> Tensor:
    """
    y = -x.

    Inputs:
        x: f32|i64|i32|i8|u8. any shape

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
        x: f32|i64|i32|i8|u8|bool. any shape

    Attributes:
        dims: ints. a permutation of 0 .. rank - 1

    Outputs:
        y: y.shape[i] = x.shape[dims[i]], dtype of x
    """

def pow_scalar(
    x: Tensor,
    *,
    value: float,
) -> Tensor:
    """
    y = x ^ value, as C's pow has it: nan where x < 0 and value is no integer.

    Inputs:
        x: f32. any shape

    Attributes:
        value: float. the exponent

    Outputs:
        y: shape and dtype of x
    """

def relu(
    x: Tensor,
) -> Tensor:
    """
    y = max(x, 0); nan stays nan. Its gradient at 0 is 0.

    Inputs:
        x: f32|i64|i32|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def relu_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx = dy where y > 0, else 0.

    Inputs:
        y: f32. the forward op's y
        dy: f32. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
    """

def reshape(
    x: Tensor,
    *,
    shape: Sequence[int],
) -> Tensor:
    """
    The same elements in row-major order under another shape. Moves no bytes.

    Inputs:
        x: f32|i64|i32|i8|u8|bool. any shape

    Attributes:
        shape: ints. the new shape; its product is the number of elements of x

    Outputs:
        y: shape as the attribute says, dtype of x
    """

def rsqrt(
    x: Tensor,
) -> Tensor:
    """
    y = 1 / sqrt(x).

    Inputs:
        x: f32. any shape

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
        x: f32. any shape

    Outputs:
        y: shape and dtype of x
    """

def sigmoid_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx = dy * y * (1 - y).

    Inputs:
        y: f32. the forward op's y
        dy: f32. gradient of y, shape of x

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
        x: f32|i64|i32|i8|u8|bool. any shape of rank >= 1

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
        dy: f32|i64|i32|i8|u8. gradient of the slice

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
        x: f32. logits, rank >= 1

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
        y: f32. the forward op's result
        dy: f32. gradient of y

    Attributes:
        dim: int. the dim whose elements belong together

    Outputs:
        dx: as y
    """

def sqrt(
    x: Tensor,
) -> Tensor:
    """
    y = sqrt(x), nan below 0. Its gradient at 0 is inf.

    Inputs:
        x: f32. any shape

    Outputs:
        y: shape and dtype of x
    """

def square(
    x: Tensor,
) -> Tensor:
    """
    y = x * x.

    Inputs:
        x: f32|i64|i32|i8|u8. any shape

    Outputs:
        y: shape and dtype of x
    """

def stop_gradient(
    x: Tensor,
) -> Tensor:
    """
    y = x, and no gradient goes through it. Moves no bytes.

    Inputs:
        x: f32|i64|i32|i8|u8|bool. any shape

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
        a: f32|i64|i32|i8|u8. any shape
        b: f32|i64|i32|i8|u8. dtype of a; its shape broadcasts with a's, dims aligned from the right

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
        x: f32|i64|i32|i8|u8. any shape

    Attributes:
        dims: ints. dims to reduce, each once
        keepdim: bool (default False). keep reduced dims as extent 1

    Outputs:
        y: x without `dims`, or with extent 1 there if keepdim; dtype of x
    """

def tanh(
    x: Tensor,
) -> Tensor:
    """
    y = tanh(x).

    Inputs:
        x: f32. any shape

    Outputs:
        y: shape and dtype of x
    """

def tanh_grad(
    y: Tensor,
    dy: Tensor,
) -> Tensor:
    """
    dx = dy * (1 - y * y).

    Inputs:
        y: f32. the forward op's y
        dy: f32. gradient of y, shape of x

    Outputs:
        dx: gradient of x, shape and dtype of dy
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
        a: f32|i64|i32|i8|u8|bool. any shape
        b: f32|i64|i32|i8|u8|bool. dtype of a; broadcasts

    Outputs:
        y: the broadcast shape, dtype of a and b
    """
