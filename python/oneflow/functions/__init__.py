"""Functions on tensors, with PyTorch's names and rules, over the op table; also bound as Tensor's methods."""

from . import (
    algebra,
    arranging,
    binding,
    composed,
    contractions,
    creation,
    elementwise,
    gathering,
    grids,
    products,
    properties,
    reductions,
    running,
    scattering,
    searching,
    second_names,
    shapes,
    statistics,
)
from .algebra import *  # noqa: F403
from .arranging import *  # noqa: F403
from .composed import *  # noqa: F403
from .contractions import *  # noqa: F403
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .gathering import *  # noqa: F403
from .grids import *  # noqa: F403
from .products import *  # noqa: F403
from .properties import *  # noqa: F403
from .reductions import *  # noqa: F403
from .running import *  # noqa: F403
from .scattering import *  # noqa: F403
from .searching import *  # noqa: F403
from .second_names import *  # noqa: F403
from .shapes import *  # noqa: F403
from .statistics import *  # noqa: F403

binding.bind_methods()

__all__ = [
    *algebra.__all__,
    *arranging.__all__,
    *composed.__all__,
    *contractions.__all__,
    *creation.__all__,
    *elementwise.__all__,
    *gathering.__all__,
    *grids.__all__,
    *products.__all__,
    *properties.__all__,
    *reductions.__all__,
    *running.__all__,
    *scattering.__all__,
    *searching.__all__,
    *second_names.__all__,
    *shapes.__all__,
    *statistics.__all__,
]
