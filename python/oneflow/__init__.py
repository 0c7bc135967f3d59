"""oneflow: a static-scheduled dataflow framework for training deep networks on many devices.

Write a model as if for one device; a compiler decides data, tensor and pipeline parallelism, and actors execute its
plan. Start with docs/architecture.md and examples/resnet/.
"""

from . import environment as _environment

_environment.set_thread_defaults()

from . import _core, errors, functions, nn, optim, random  # noqa: E402
from . import dtypes as _dtypes  # noqa: E402
from .dtypes import bfloat16, float16, float32, int8, int32, int64, uint8  # noqa: E402
from .dtypes import bool_ as bool  # noqa: E402, A004
from .environment import local_rank, rank, world_size  # noqa: E402
from .errors import (  # noqa: E402
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
)
from .functions import *  # noqa: E402, F403
from .mesh import Mesh, mesh  # noqa: E402
from .plan import Plan  # noqa: E402
from .random import Generator, manual_seed, rand, randint, randn  # noqa: E402
from .serialization import load, save  # noqa: E402
from .sharding import B, P, S, shard, stage  # noqa: E402
from .steps import eval_step, spec, static, train_step, value_and_grad  # noqa: E402
from .tensor import Tensor, as_tensor, from_numpy, tensor  # noqa: E402

dtype = _dtypes.DType
__version__ = "0.1.0"
