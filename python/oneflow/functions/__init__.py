"""Functions on tensors, with PyTorch's names and rules, over the op table; also bound as Tensor's methods."""

from . import (
    algebra,
    aliases,
    arranging,
    binding,
    composed,
    contractions,
    creation,
    elementwise,
    gathering,
    products,
    properties,
    reductions,
    scattering,
    shapes,
    statistics,
)
from .algebra import *  # noqa: F403
from .aliases import *  # noqa: F403
from .arranging import *  # noqa: F403
from .composed import *  # noqa: F403
from .contractions import *  # noqa: F403
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .gathering import *  # noqa: F403
from .products import *  # noqa: F403
from .properties import *  # noqa: F403
from .reductions import *  # noqa: F403
from .scattering import *  # noqa: F403
from .shapes import *  # noqa: F403
from .statistics import *  # noqa: F403

binding.bind_methods()

__all__ = [
    *algebra.__all__,
    *aliases.__all__,
    *arranging.__all__,
    *composed.__all__,
    *contractions.__all__,
    *creation.__all__,
    *elementwise.__all__,
    *gathering.__all__,
    *products.__all__,
    *properties.__all__,
    *reductions.__all__,
    *scattering.__all__,
    *shapes.__all__,
    *statistics.__all__,
]
