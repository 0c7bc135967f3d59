"""Pre-trains BERT on the sources of Python's own library: fills in masked words, tells whether two pieces follow.

    ./dev python examples/bert/train.py --mesh dp=2,tp=2
    ./dev python -m oneflow.launch --nproc-per-node 2 examples/bert/train.py --mesh dp=2

`--size base` and `--size large` are the published sizes: LAMB, bf16 and accumulation are made for them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import oneflow as flow
from oneflow.models import BertConfig, BertForPreTraining, pretraining_loss

sys.path.insert(0, str(Path(__file__).parents[1]))
import flags  # noqa: E402

PAD, UNKNOWN, START, END, MASK = range(5)
SPECIAL = 5  # that many tokens are no words
Batch = dict[str, np.ndarray]


class Text:
    """Words as numbers: every module at the top of Python's library, or the first `files` of them."""

    def __init__(self, files: int, vocabulary: int) -> None:
        paths = sorted(Path(json.__file__).parent.parent.glob("*.py"))[:files]
        words = [re.findall(r"\w+|[^\w\s]", path.read_text("utf-8", "replace")) for path in paths]
        counts = Counter(word for one in words for word in one)
        known = sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - SPECIAL]
        number = {word: SPECIAL + i for i, word in enumerate(known)}
        self.size = SPECIAL + len(known)
        self.tokens = np.array([number.get(word, UNKNOWN) for one in words for word in one])

    def batches(self, size: int, length: int, steps: int, seed: int) -> Iterator[Batch]:
        """[START] a [END] b [END]: half of the time b goes on where a ends; 15 of 100 words are asked for."""
        random = np.random.default_rng(seed)
        room = length - 3
        for _ in range(steps):
            first = random.integers(room // 4, room - room // 4 + 1, size)  # words of a
            begin = random.integers(0, len(self.tokens) - room, (size, 2))
            apart = random.integers(0, 2, size)
            tokens = np.full((size, length), END)
            for row, words, (here, there), other in zip(tokens, first, begin, apart, strict=True):
                row[0] = START
                row[1 : 1 + words] = self.tokens[here : here + words]
                follows = there if other else here + words
                row[2 + words : -1] = self.tokens[follows : follows + room - words]
            asked = (random.random(tokens.shape) < 0.15) & (tokens != START) & (tokens != END)
            labels = np.where(asked, tokens, -100)
            how = random.random(
                tokens.shape
            )  # of the words asked for, 8 of 10 are hidden, 1 is another
            tokens = np.where(asked & (how < 0.8), MASK, tokens)
            another = random.integers(SPECIAL, self.size, tokens.shape)
            tokens = np.where(asked & (how >= 0.9), another, tokens)
            types = (np.arange(length) > 1 + first[:, None]).astype(np.int64)
            yield {"tokens": tokens, "types": types, "labels": labels, "apart": apart}


def config_of(options: argparse.Namespace, words: int) -> BertConfig:
    """A published size, with the words that there are, or the one that the flags say."""
    if options.size == "small":
        return BertConfig(
            vocab_size=words,
            hidden_size=options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            intermediate_size=4 * options.width,
            max_position_embeddings=options.context,
        )
    published = BertConfig.large() if options.size == "large" else BertConfig.base()
    return BertConfig(**{**vars(published), "vocab_size": words})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    flags.add_to(parser)
    parser.add_argument("--size", default="small", choices=["small", "base", "large"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=2000)
    parser.add_argument("--files", type=int, default=None, help="modules to read, all by default")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="", help="a folder for flow.load_pretrained")
    options = parser.parse_args()

    flow.manual_seed(options.seed)
    text = Text(options.files, options.vocabulary)
    model = BertForPreTraining(config_of(options, text.size))
    schedule = flow.optim.lr.warmup(
        options.steps // 10, flow.optim.lr.linear(options.lr, options.steps)
    )
    optimizer = flow.optim.LAMB(model.parameters(), lr=schedule, weight_decay=0.01)

    @flow.train_step(
        model=model,
        optimizer=optimizer,
        mesh=flow.mesh(options.device, **options.mesh),
        accumulate=options.accumulate,
        precision=options.precision,
        clip_norm=1.0,
        parallel=flags.parallel(options),
    )
    def step(batch: Batch) -> dict[str, flow.Tensor]:
        scores, relationship = model(batch["tokens"], token_type_ids=batch["types"])
        return {
            "loss": pretraining_loss(scores, relationship, batch["labels"], batch["apart"]),
            "told apart": (relationship.argmax(1) == batch["apart"]).float().mean(),
        }

    begin = time.monotonic()
    batches = text.batches(options.batch, options.context, options.steps, options.seed)
    with flags.Log(options.log) as log:
        for metrics in step.run(batches, steps=options.steps):
            count = metrics["step"] + 1
            log.add(count, metrics)
            if flow.rank() == 0 and (count % 25 == 0 or count == 1):
                loss, told = float(metrics["loss"]), float(metrics["told apart"])
                seconds = time.monotonic() - begin
                print(f"step {count:5}  loss {loss:.3f}  told apart {told:.2f}  {seconds:6.1f} s")
    if options.save_decisions and flow.rank() == 0:
        batch = next(text.batches(options.batch, options.context, 1, options.seed))
        step.compile(batch).save_decisions(options.save_decisions)
    if options.save:
        flow.save_pretrained(model, options.save)


if __name__ == "__main__":
    main()
