"""What `./dev bench scaling` runs and compiles: BERT and ResNet, small enough for two cores or at their published
sizes, over the layouts of a number of devices. Functions that build steps; no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import models
from oneflow.models.bert import pretraining_loss

SEQUENCE = 128


@dataclass(frozen=True)
class Layout:
    """Sizes of the axes, and micro-batches where there are stages."""

    name: str
    axes: tuple[tuple[str, int], ...]
    accumulate: int = 1

    @property
    def devices(self) -> int:
        count = 1
        for _, size in self.axes:
            count *= size
        return count


# Of the runs that are timed; batches are the same for all.
RUN = (
    Layout("dp1", (("dp", 1),)),
    Layout("dp2", (("dp", 2),)),
    Layout("tp2", (("tp", 2),)),
    Layout("pp2", (("pp", 2),), accumulate=4),
    Layout("dp4", (("dp", 4),)),
    Layout("dp2_tp2", (("dp", 2), ("tp", 2))),
    Layout("pp2_dp2", (("pp", 2), ("dp", 2)), accumulate=4),
)
RUN_MODELS = {
    "bert": ("a BERT of 4 layers of width 256, 16 sequences of 64", RUN),
    "resnet": (
        "ResNet-18, 16 images of 64 x 64",
        tuple(one for one in RUN if "tp" not in one.name),
    ),
}


def predicted_layouts(model: str, devices: int) -> tuple[Layout, ...]:
    """The layouts whose plans are compiled: data parallel; for BERT also with the layers of a host cut."""
    data = Layout("dp", (("dp", devices),))
    if model == "resnet50":
        return (data,)
    return (data, Layout("dp x tp8", (("dp", devices // 8), ("tp", 8))))


def small_step(
    model: str, layout: Layout, parallel: Any = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """A step over CPU devices of a thread each, and its batch. `parallel`: decisions to follow."""
    random = np.random.default_rng(0)
    flow.manual_seed(0)
    mesh = flow.mesh("cpu", threads=1, **dict(layout.axes))
    if model == "bert":
        size: dict[str, Any] = {
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
        }
        bert = models.BertForPreTraining(
            models.BertConfig(
                vocab_size=2000, intermediate_size=1024, hidden_dropout_prob=0.0, **size
            )
        )
        tokens = random.integers(5, 2000, (16, 64))
        batch = {
            "tokens": tokens,
            "labels": np.where(random.random(tokens.shape) < 0.15, tokens, -100),
            "apart": random.integers(0, 2, 16),
        }
        return bert_step(bert, mesh, layout, "fp32", parallel), batch
    batch = {
        "images": random.normal(size=(16, 3, 64, 64)).astype(np.float32),
        "labels": random.integers(0, 10, 16),
    }
    return resnet_step(models.resnet18(num_classes=10), mesh, layout, "fp32", parallel), batch


def published_step(model: str, layout: Layout, per_device: int) -> tuple[Any, dict[str, Any]]:
    """A step in bf16 over CUDA devices, and the form of its batch: `per_device` samples for each device."""
    mesh = flow.mesh("cuda", **dict(layout.axes))
    count = per_device * layout.devices
    if model == "bert-large":
        bert = models.BertForPreTraining(models.BertConfig.large())
        tokens = flow.spec((count, SEQUENCE), flow.int64)
        batch = {"tokens": tokens, "labels": tokens, "apart": flow.spec((count,), flow.int64)}
        return bert_step(bert, mesh, layout, "bf16", None), batch
    batch = {
        "images": flow.spec((count, 3, 224, 224)),
        "labels": flow.spec((count,), flow.int64),
    }
    return resnet_step(models.resnet50(), mesh, layout, "bf16", None), batch


def bert_step(model: Any, mesh: flow.Mesh, layout: Layout, precision: str, parallel: Any) -> Any:
    """Masked words and next sentence, with LAMB."""
    cut = models.tensor_parallel(model) if "tp" in dict(layout.axes) else "auto"

    @flow.train_step(
        model=model,
        optimizer=flow.optim.LAMB(model.parameters(), lr=1e-3),
        mesh=mesh,
        parallel=parallel or cut,
        accumulate=layout.accumulate,
        precision=precision,
    )
    def step(tokens: Any, labels: Any, apart: Any) -> Any:
        scores, relationship = model(tokens)
        return pretraining_loss(scores, relationship, labels, apart)

    return step


def resnet_step(model: Any, mesh: flow.Mesh, layout: Layout, precision: str, parallel: Any) -> Any:
    """Classes of images, with momentum."""

    @flow.train_step(
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        mesh=mesh,
        parallel=parallel or "auto",
        accumulate=layout.accumulate,
        precision=precision,
    )
    def step(images: Any, labels: Any) -> Any:
        return F.cross_entropy(model(images), labels)

    return step
