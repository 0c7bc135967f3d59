"""Optimizers, with PyTorch's arguments and parameter groups; updates are ops of the step's graph."""

from . import lr, lr_scheduler
from .adafactor import Adafactor
from .adagrad import Adadelta, Adagrad
from .adam_variants import Adamax, NAdam, RAdam
from .adamw import Adam, AdamW
from .layerwise import LAMB, LARS
from .lion import Lion
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "LAMB",
    "LARS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "lr",
    "lr_scheduler",
]
