"""Small BERT and GPT-2 over 300 steps: loss curves within the spread of PyTorch's own seeds, in f32 and bf16.

Arguments: `--anew` forgets what was done, `--only MODEL-PRECISION` (bert-f32, gpt2-bf16, ..) takes one of the four.
Goes on where it stopped: build/parity has a file for each run, ours by commit. The rule stands in docs/testing.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools import results, transformers_package
from tools.long import resumable

COST = "2 models x 2 precisions x 3 seeds x 300 steps on both sides: 40 minutes beside other work; goes on where it stopped"
SEEDS = (0, 1, 2)
PRECISIONS = {"f32": "fp32", "bf16": "bf16"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": (
        "BertForMaskedLM",
        {
            "vocab_size": 256,
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "max_position_embeddings": 64,
        },
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": 256, "n_positions": 64, "n_embd": 128, "n_layer": 4, "n_head": 4},
    ),
}


def _model(name: str, seed: int) -> Any:
    """transformers' model; the seed draws its weights."""
    import torch
    import transformers

    kind, sizes = MODELS[name]
    torch.manual_seed(seed)
    config = {"bert": transformers.BertConfig, "gpt2": transformers.GPT2Config}[name](**sizes)
    return getattr(transformers, kind)(config)


def _theirs(name: str, precision: str, seed: int, log: Callable[[str], None]) -> Any:
    from tests.models import training_parity

    model = _model(name, seed)
    return training_parity.train_torch(
        _setting(name),
        list(model.parameters()),
        lambda tokens: model(tokens).logits,
        seed,
        precision,
        training=model.train,
        log=log,
    )


def _ours(name: str, precision: str, seed: int, log: Callable[[str], None]) -> Any:
    import oneflow as flow

    from tests.models import training_parity

    with tempfile.TemporaryDirectory() as folder:
        _model(name, seed).save_pretrained(folder)
        model = flow.load_pretrained(folder)
        return training_parity.train(_setting(name), model, seed, PRECISIONS[precision], log)


@functools.cache
def _setting(name: str) -> Any:
    from tests.models import training_parity

    return training_parity.Setting(masked=name == "bert", vocabulary=MODELS[name][1]["vocab_size"])


def _curve(path: Path, run: Callable[[], Any]) -> Any:
    """The curve in the file, or that of the run, then kept there."""
    from tests.models import training_parity

    if not path.exists():
        curve = run()
        path.with_suffix(".part").write_text(json.dumps(asdict(curve)))
        path.with_suffix(".part").rename(path)
    return training_parity.Curve(**json.loads(path.read_text()))


def _case(name: str, precision: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The figures of one model in one precision, and what is wrong with them."""
    from tests.models import training_parity

    sides: dict[str, list[Any]] = {"ours": [], "theirs": []}
    for seed in SEEDS:
        for side, run in (("theirs", _theirs), ("ours", _ours)):
            what = f"{name}-{precision}-{seed}-{side}"
            file = f"{what}-{results.commit()[0][:12]}" if side == "ours" else what
            begin = time.monotonic()

            def log(line: str, what: str = what) -> None:
                print(f"{what}: {line}", flush=True)

            def fresh(run: Any = run, seed: int = seed, log: Any = log) -> Any:
                return run(name, precision, seed, log)

            sides[side].append(_curve(folder / f"{file}.json", fresh))
            log(f"held out {sides[side][-1].held_out:.4f}, {time.monotonic() - begin:.0f} s")
    found = training_parity.compare(sides["ours"], sides["theirs"], _setting(name).window)
    figures = {
        "spread": round(found.spread, 4),
        "learned_in_spreads": round(found.learned, 1),
        "beyond_band_in_spreads": round(found.farthest, 3),
        "shift_in_spreads": round(found.shift, 3),
        "ours": found.ours.round(4).tolist(),
        "theirs": found.theirs.round(4).tolist(),
    }
    return figures, found.violations()


def main(arguments: list[str]) -> int:
    cases = [f"{name}-{precision}" for name in MODELS for precision in PRECISIONS]
    parser = argparse.ArgumentParser(prog="./dev long parity")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    parser.add_argument("--only", choices=cases, help="one model in one precision")
    options = parser.parse_args(arguments)
    folder = resumable.folder("parity", options.anew)
    sys.path.append(str(transformers_package.folder()))
    figures: dict[str, Any] = {"package": transformers_package.PACKAGE}
    wrong: list[str] = []
    for case in [options.only] if options.only else cases:
        name, precision = case.split("-")
        figures[case], violations = _case(name, precision, folder)
        wrong += [f"{case}: {one}" for one in violations]
        shown = {key: value for key, value in figures[case].items() if not isinstance(value, list)}
        print(f"{case}: {shown}", flush=True)
    for line in wrong:
        print(line)
    code = 1 if wrong else 0
    results.append(
        "parity",
        counts={"curves": len(SEEDS) * (len(figures) - 1), "violations": len(wrong)},
        figures=figures,
        seeds=list(SEEDS),
        exit_code=code,
    )
    return code
