"""Trains a small ResNet on scikit-learn's handwritten digits, under any layout.

    ./dev python examples/resnet/train.py --mesh dp=2,tp=2
    ./dev python -m oneflow.launch --nproc-per-node 2 examples/resnet/train.py --mesh dp=2

The program is the same for every layout: the mesh names the axes, the compiler cuts the work.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parent))
from model import ResNet  # noqa: E402

Images = tuple[np.ndarray, np.ndarray]


def parse_mesh(text: str) -> dict[str, int]:
    """ "dp=2,tp=2" -> {"dp": 2, "tp": 2}."""
    return {name: int(size) for name, size in (item.split("=") for item in text.split(","))}


def load_data(seed: int) -> tuple[Images, Images]:
    """Training and held-out images [n, 1, 8, 8] in about [-1, 1], and their labels."""
    digits = load_digits()
    images = (digits.images[:, None] / 8.0 - 1.0).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    held_out = len(images) // 5
    return (images[held_out:], labels[held_out:]), (images[:held_out], labels[:held_out])


class Batches:
    """Shuffled batches, in another order each time they are iterated; shifts images by up to a pixel."""

    def __init__(self, data: Images, batch_size: int, seed: int) -> None:
        self.images, self.labels = data
        self.batch_size = batch_size
        self.random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        order = self.random.permutation(len(self.labels))
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            shift = self.random.integers(-1, 2, size=2)
            images = np.roll(self.images[rows], shift, axis=(2, 3))
            yield {"images": images, "labels": self.labels[rows]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", default="dp=1", help="axes and sizes: dp=2,tp=2 or dp=2,pp=2")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches per step")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--save", default="", help="write the trained weights to this safetensors file"
    )
    args = parser.parse_args()

    flow.manual_seed(args.seed)
    train, test = load_data(args.seed)
    batches = Batches(train, args.batch_size, args.seed)
    steps = args.epochs * len(batches)

    mesh = flow.mesh("cpu", **parse_mesh(args.mesh))
    model = ResNet()
    schedule = flow.optim.lr.warmup(20, flow.optim.lr.cosine(args.lr, steps))
    optimizer = flow.optim.SGD(
        model.parameters(), lr=schedule, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    # Tensor parallelism cuts the output channels of every convolution; the rest follows.
    parallel = {"*conv*.weight": {"tp": "S(0)"}} if "tp" in mesh.shape else "auto"

    @flow.train_step(
        model=model, optimizer=optimizer, mesh=mesh, parallel=parallel, accumulate=args.accumulate
    )
    def step(batch):
        logits = model(batch["images"])
        correct = (logits.argmax(1) == batch["labels"]).float()
        return {"loss": F.cross_entropy(logits, batch["labels"]), "accuracy": correct.mean()}

    @flow.eval_step(model=model, mesh=mesh, parallel=parallel)
    def predict(images):
        return model(images).argmax(1)

    chief = flow.rank() == 0
    if chief:
        size = args.batch_size
        images, labels = flow.spec((size, 1, 8, 8)), flow.spec((size,), flow.int64)
        print(step.compile({"images": images, "labels": labels}).summary())

    start = time.perf_counter()
    for metrics in step.run(batches, steps=steps):
        if chief and (metrics["step"] + 1) % len(batches) == 0:
            epoch = (metrics["step"] + 1) // len(batches)
            loss, accuracy = float(metrics["loss"]), float(metrics["accuracy"])
            print(f"epoch {epoch:2d}  loss {loss:.4f}  accuracy {accuracy:.3f}", flush=True)
    seconds = time.perf_counter() - start

    correct = np.mean(predict(test[0]).numpy() == test[1])
    if chief:
        print(f"{steps} steps in {seconds:.1f} s on mesh {mesh}")
        print(f"test accuracy {100 * correct:.2f} % of {len(test[1])} held-out images")
    if args.save:
        state = flow.gather(model.state_dict())  # whole on every rank
        if chief:
            flow.save(state, args.save)
            print(f"wrote {args.save}")


if __name__ == "__main__":
    main()
