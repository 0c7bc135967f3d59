"""Trains a residual network on scikit-learn's handwritten digits or your own images, under any layout.

    ./dev python examples/resnet/train.py --mesh dp=2,tp=2
    ./dev python -m oneflow.launch --nproc-per-node 2 examples/resnet/train.py --mesh dp=2

    ./dev python examples/resnet/train.py --arch resnet50 --data images.npz --batch-size 256 --precision bf16

The program is the same for every layout: the mesh names the axes, the compiler cuts the work. `--arch small` is the
network of model.py; resnet18 to resnet50 are those of oneflow.models, with torchvision's names in the saved file.
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
from oneflow import models, nn
from sklearn.datasets import load_digits

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import flags  # noqa: E402
from model import ResNet  # noqa: E402

Images = tuple[np.ndarray, np.ndarray]


def load_data(seed: int, path: str = "") -> tuple[Images, Images]:
    """Training and held-out images [n, c, h, w] in about [-1, 1], and their labels; a fifth is held out.

    path: an .npz file with `images` in [0, 255] and `labels`; by default digits [n, 1, 8, 8].
    """
    if path:
        with np.load(path) as file:
            images, labels = file["images"] / 127.5 - 1.0, file["labels"]
    else:
        digits = load_digits()
        images, labels = digits.images[:, None] / 8.0 - 1.0, digits.target
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order].astype(np.float32), labels[order].astype(np.int64)
    held_out = len(images) // 5
    return (images[held_out:], labels[held_out:]), (images[:held_out], labels[:held_out])


def make_model(arch: str, images: np.ndarray, classes: int) -> nn.Module:
    """Images below 64 pixels are not quartered at the entrance."""
    if arch == "small":
        return ResNet(classes)
    channels, stem = images.shape[1], "imagenet" if images.shape[-1] >= 64 else "small"
    return getattr(models, arch)(num_classes=classes, in_channels=channels, stem=stem)


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
    flags.add_to(parser)
    parser.add_argument("--arch", default="small", help="small, resnet18, resnet34 or resnet50")
    parser.add_argument("--data", default="", help="an .npz file with images and labels")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=None, help="instead of --epochs")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="", help="a safetensors file for the trained weights")
    args = parser.parse_args()

    flow.manual_seed(args.seed)
    train, test = load_data(args.seed, args.data)
    batches = Batches(train, args.batch_size, args.seed)
    steps = args.steps or args.epochs * len(batches)

    mesh = flow.mesh(args.device, **args.mesh)
    model = make_model(args.arch, train[0], int(train[1].max()) + 1)
    schedule = flow.optim.lr.warmup(20, flow.optim.lr.cosine(args.lr, steps))
    optimizer = flow.optim.SGD(
        model.parameters(), lr=schedule, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    # Tensor parallelism cuts the output channels of every convolution; the rest follows.
    parallel = {"*conv*.weight": {"tp": "S(0)"}} if "tp" in mesh.shape else "auto"

    held = flags.parallel(args, otherwise=parallel)
    options = {"mesh": mesh, "precision": args.precision}

    @flow.train_step(
        model=model, optimizer=optimizer, accumulate=args.accumulate, parallel=held, **options
    )
    def step(batch):
        logits = model(batch["images"])
        correct = (logits.argmax(1) == batch["labels"]).float()
        return {"loss": F.cross_entropy(logits, batch["labels"]), "accuracy": correct.mean()}

    @flow.eval_step(model=model, parallel=parallel, **options)
    def predict(images):
        return model(images).argmax(1)

    chief = flow.rank() == 0
    if chief:
        plan = step.compile(next(iter(Batches(train, args.batch_size, args.seed))))
        print(plan.summary())
        if args.save_decisions:
            plan.save_decisions(args.save_decisions)

    start = time.perf_counter()
    with flags.Log(args.log) as log:
        for metrics in step.run(batches, steps=steps):
            count = metrics["step"] + 1
            log.add(count, metrics)
            if chief and count % len(batches) == 0:
                loss, accuracy = float(metrics["loss"]), float(metrics["accuracy"])
                epoch = count // len(batches)
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
