"""Functions on tensors, with PyTorch's names and rules, over the op table; also bound as Tensor's methods."""

from . import (
    binding,
    contractions,
    creation,
    elementwise,
    gathering,
    grids,
    products,
    reductions,
    running,
    scattering,
    second_names,
    shapes,
)
from .contractions import *  # noqa: F403
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .gathering import *  # noqa: F403
from .grids import *  # noqa: F403
from .products import *  # noqa: F403
from .reductions import *  # noqa: F403
from .running import *  # noqa: F403
from .scattering import *  # noqa: F403
from .second_names import *  # noqa: F403
from .shapes import *  # noqa: F403

binding.bind_methods()

__all__ = [
    *contractions.__all__,
    *creation.__all__,
    *elementwise.__all__,
    *gathering.__all__,
    *grids.__all__,
    *products.__all__,
    *reductions.__all__,
    *running.__all__,
    *scattering.__all__,
    *second_names.__all__,
    *shapes.__all__,
]
