"""Optimizers, with PyTorch's arguments and parameter groups; updates are ops of the step's graph."""

from . import lr
from .adamw import AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "AdamW", "Optimizer", "lr"]
