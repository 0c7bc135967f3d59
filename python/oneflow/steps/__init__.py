"""Steps: functions that are traced once per kind of batch, compiled to a plan, and run."""

from .batch import Spec, spec, static
from .evaluate import EvalStep, eval_step
from .gradients import ValueAndGrad, value_and_grad
from .loss_scale import LossScale
from .metrics import Metrics
from .train import TrainStep, train_step

__all__ = [
    "EvalStep",
    "LossScale",
    "Metrics",
    "Spec",
    "TrainStep",
    "ValueAndGrad",
    "eval_step",
    "spec",
    "static",
    "train_step",
    "value_and_grad",
]
