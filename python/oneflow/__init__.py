# ruff: noqa: E402
"""oneflow: a static-scheduled dataflow framework for training deep networks on many devices.

Write a model as if for one device; a compiler decides data, tensor and pipeline parallelism, and actors execute its
plan. Start with docs/architecture.md and examples/resnet/.
"""

from math import e, inf, nan, pi

from . import environment as _environment

_environment.set_thread_defaults()
_environment.report_failures()

from . import autograd, data, debug, errors, functions, linalg, nn, ops, optim, random, special
from .checkpoint import Checkpoint, load
from .debug import tap
from .decisions import Decisions
from .dtypes import DType as dtype
from .dtypes import (
    bfloat16,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from .dtypes import bool_ as bool
from .dtypes import float16 as half
from .dtypes import float32 as float
from .dtypes import float64 as double
from .dtypes import int16 as short
from .dtypes import int32 as int
from .dtypes import int64 as long
from .environment import local_rank, rank, world_size
from .errors import (
    CheckpointError,
    DataError,
    DTypeError,
    Error,
    NumericsError,
    OutOfMemoryError,
    PeerError,
    PlanError,
    ShapeError,
    ShardingError,
    StaleRunError,
)
from .functions import *  # noqa: F403
from .gather import gather
from .grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from .mesh import Mesh, mesh
from .nn.functional import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d,
    avg_pool1d,
    bilinear,
    cdist,
    celu,
    channel_shuffle,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cosine_similarity,
    group_norm,
    hardshrink,
    layer_norm,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    pairwise_distance,
    pdist,
    pixel_shuffle,
    pixel_unshuffle,
    prelu,
    rms_norm,
    selu,
    threshold,
)
from .plan import Plan
from .precision import precision
from .random import (
    Generator,
    bernoulli,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from .serialization import save
from .sharding import B, P, S, shard, stage
from .steps import LossScale, eval_step, spec, static, train_step, value_and_grad
from .target import Target
from .tensor import Tensor, as_tensor, from_dlpack, from_numpy, tensor

from . import models  # isort: skip  (of all the above)
from .models import load_pretrained, save_pretrained  # isort: skip

__version__ = "0.1.0"

__all__ = [
    *functions.__all__,
    "B",
    "Checkpoint",
    "CheckpointError",
    "DTypeError",
    "DataError",
    "Decisions",
    "Error",
    "Generator",
    "adaptive_avg_pool1d",
    "adaptive_max_pool1d",
    "avg_pool1d",
    "bilinear",
    "celu",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "group_norm",
    "hardshrink",
    "layer_norm",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "rms_norm",
    "selu",
    "threshold",
    "from_dlpack",
    "bernoulli",
    "multinomial",
    "linalg",
    "special",
    "LossScale",
    "Mesh",
    "NumericsError",
    "OutOfMemoryError",
    "P",
    "PeerError",
    "Plan",
    "PlanError",
    "S",
    "ShapeError",
    "ShardingError",
    "StaleRunError",
    "Target",
    "Tensor",
    "as_tensor",
    "bfloat16",
    "float64",
    "int16",
    "bool",
    "double",
    "e",
    "finfo",
    "float",
    "half",
    "iinfo",
    "inf",
    "int",
    "long",
    "nan",
    "pi",
    "rand_like",
    "randn_like",
    "randperm",
    "short",
    "autograd",
    "cdist",
    "cosine_similarity",
    "pairwise_distance",
    "data",
    "debug",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
    "tap",
    "dtype",
    "errors",
    "eval_step",
    "float16",
    "float32",
    "from_numpy",
    "functions",
    "gather",
    "int32",
    "int64",
    "int8",
    "load",
    "load_pretrained",
    "local_rank",
    "manual_seed",
    "precision",
    "mesh",
    "models",
    "nn",
    "ops",
    "optim",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "random",
    "rank",
    "save",
    "save_pretrained",
    "shard",
    "spec",
    "stage",
    "static",
    "tensor",
    "train_step",
    "uint8",
    "value_and_grad",
    "world_size",
]
