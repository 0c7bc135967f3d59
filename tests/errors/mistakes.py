"""The list of mistakes, written by hand from what PyTorch users write."""

from __future__ import annotations

from tests.errors.mistakes_of_models import LAYOUTS, LOADING, MODULES
from tests.errors.mistakes_of_ops import DTYPES, SHAPES, TRACING
from tests.errors.mistakes_of_steps import BATCHES, TRAINING

ALL = [*SHAPES, *DTYPES, *TRACING, *TRAINING, *BATCHES, *LAYOUTS, *MODULES, *LOADING]
