"""Functions on tensors, with PyTorch's names and rules, over the op table; also bound as Tensor's methods."""

from . import binding, creation, elementwise, products, reductions, shapes
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .products import *  # noqa: F403
from .reductions import *  # noqa: F403
from .shapes import *  # noqa: F403

binding.bind_methods()

__all__ = [
    *creation.__all__,
    *elementwise.__all__,
    *products.__all__,
    *reductions.__all__,
    *shapes.__all__,
]
