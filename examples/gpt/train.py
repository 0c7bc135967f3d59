"""Trains a small GPT or Llama on Python's own library, character by character, under any layout, then lets it write.

    ./dev python examples/gpt/train.py --mesh dp=2,tp=2
    ./dev python -m oneflow.launch --nproc-per-node 2 examples/gpt/train.py --mesh dp=2

Sizes up to GPT-2's are a matter of flags: --layers 12 --width 768 --heads 12 --context 1024. What was trained
writes on from "def " with a key-value cache: one plan computes each further letter, wherever it stands.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow.models import GPT2, CausalLanguageModel, GPT2Config, Llama, LlamaConfig

sys.path.insert(0, str(Path(__file__).parents[1]))
import flags  # noqa: E402


class Text:
    """Characters as numbers: the sources of the package json, which every Python has."""

    def __init__(self) -> None:
        folder = Path(json.__file__).parent
        text = "".join(path.read_text() for path in sorted(folder.glob("*.py")))
        self.letters = sorted(set(text))
        self.number = {letter: i for i, letter in enumerate(self.letters)}
        self.tokens = self.encode(text)

    def encode(self, text: str) -> np.ndarray:
        return np.array([self.number[letter] for letter in text], np.int64)

    def decode(self, tokens: np.ndarray) -> str:
        return "".join(self.letters[token] for token in tokens)

    def batches(self, size: int, length: int, steps: int, seed: int) -> Iterator[np.ndarray]:
        """Windows [size, length + 1] from anywhere."""
        random = np.random.default_rng(seed)
        for _ in range(steps):
            starts = random.integers(0, len(self.tokens) - length - 1, size)
            yield np.stack([self.tokens[start : start + length + 1] for start in starts])


def make_model(options: argparse.Namespace, letters: int) -> CausalLanguageModel:
    if options.model == "llama":
        return Llama(
            LlamaConfig(
                vocab_size=letters,
                hidden_size=options.width,
                intermediate_size=options.width * 8 // 3,
                num_hidden_layers=options.layers,
                num_attention_heads=options.heads,
                num_key_value_heads=max(options.heads // 2, 1),
                max_position_embeddings=options.context,
            )
        )
    return GPT2(
        GPT2Config(
            vocab_size=letters,
            n_positions=options.context,
            n_embd=options.width,
            n_layer=options.layers,
            n_head=options.heads,
        )
    )


def write(model: CausalLanguageModel, text: Text, count: int, context: int, **how: Any) -> str:
    """`count` letters behind "def "; of a text beyond the context the later half goes on."""
    written = text.encode("def ").tolist()
    count += len(written)
    while len(written) < count:
        known = written[-max(context // 2, 1) :]
        new = min(context - len(known), count - len(written))
        written += model.generate([known], new, **how)[0][len(known) :]
        how["seed"] += 1
    return text.decode(np.array(written))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    flags.add_to(parser)
    parser.add_argument("--model", default="gpt2", choices=["gpt2", "llama"])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--write", type=int, default=120, help="characters to write at the end")
    parser.add_argument("--save", default="", help="a folder for flow.load_pretrained")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    flow.manual_seed(options.seed)
    text = Text()
    model = make_model(options, len(text.letters))
    mesh = flow.mesh(options.device, **options.mesh)
    optimizer = flow.optim.AdamW(
        model.parameters(),
        lr=flow.optim.lr.cosine(options.lr, options.steps),
    )

    @flow.train_step(
        model=model,
        optimizer=optimizer,
        mesh=mesh,
        accumulate=options.accumulate,
        precision=options.precision,
        clip_norm=1.0,
        parallel=flags.parallel(options),
    )
    def step(tokens: flow.Tensor) -> flow.Tensor:
        scores = model(tokens[:, :-1])
        return F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())

    begin = time.monotonic()
    batches = text.batches(options.batch, options.context, options.steps, options.seed)
    with flags.Log(options.log) as log:
        for i, tokens in enumerate(batches, 1):
            metrics = step(tokens)
            log.add(i, metrics)
            if i % 25 == 0 or i == 1:
                loss = float(metrics["loss"])
                if flow.rank() == 0:
                    print(f"step {i:4}  loss {loss:.3f}  {time.monotonic() - begin:5.1f} s")
    if options.save_decisions and flow.rank() == 0:
        step.compile(tokens).save_decisions(options.save_decisions)
    if options.save:
        flow.save_pretrained(model, options.save)
    if options.write:
        how = {"temperature": 0.5, "seed": options.seed, "mesh": mesh}
        written = write(model, text, options.write, options.context, **how)
        if flow.rank() == 0:
            print(written)


if __name__ == "__main__":
    main()
