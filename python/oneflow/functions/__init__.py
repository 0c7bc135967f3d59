"""Functions on tensors, with PyTorch's names and rules, over the op table; also bound as Tensor's methods."""

from . import binding
from .elementwise import *  # noqa: F403
from .creation import *  # noqa: F403
from .indexing import *  # noqa: F403
from .products import *  # noqa: F403
from .reductions import *  # noqa: F403
from .shapes import *  # noqa: F403

binding.bind_methods()
