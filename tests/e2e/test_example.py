"""The ResNet example on 2 x 2 CPU devices: its weights, scored by PyTorch on the images it has not seen."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow.models import resnet50

EXAMPLE = Path(__file__).parents[2] / "examples" / "resnet"
SEED = 4


def module(name: str, path: Path, source: str) -> ModuleType:
    """Runs `source` as the module at `path`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    result = importlib.util.module_from_spec(spec)
    exec(compile(source, str(path), "exec"), result.__dict__)
    return result


def torch_model() -> Any:
    """The example's model with its imports changed, nothing else."""
    source = (EXAMPLE / "model.py").read_text()
    ported = source.replace("import oneflow as flow", "import torch as flow")
    ported = ported.replace("from oneflow import nn", "from torch import nn")
    assert "oneflow" not in ported
    return module("ported_model", EXAMPLE / "model.py", ported).ResNet()


def test_its_weights_read_digits_in_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    pytest.importorskip("sklearn")
    weights = tmp_path / "resnet.safetensors"
    command = [sys.executable, str(EXAMPLE / "train.py"), "--mesh", "dp=2,tp=2"]
    command += ["--epochs", "10", "--seed", str(SEED), "--save", str(weights)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    model = torch_model()
    model.load_state_dict(safetensors.load_file(weights))
    train = module("train", EXAMPLE / "train.py", (EXAMPLE / "train.py").read_text())
    images, labels = train.load_data(SEED)[1]
    with torch.no_grad():
        predicted = model.eval()(torch.from_numpy(images)).argmax(1).numpy()
    accuracy = float(np.mean(predicted == labels))
    assert accuracy >= 0.97
    assert f"test accuracy {100 * accuracy:.2f} %" in result.stdout
    assert "plan step" in result.stdout


def test_a_resnet50_of_ones_own_images(tmp_path: Path) -> None:
    """By flags alone; what it saves has torchvision's names."""
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10, 3, 64, 64)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(10) % 3)
    command = [sys.executable, str(EXAMPLE / "train.py"), "--arch", "resnet50", "--mesh", "dp=2"]
    command += ["--data", str(tmp_path / "images.npz"), "--batch-size", "4", "--epochs", "1"]
    command += ["--save", str(tmp_path / "x.safetensors"), "--precision", "bf16"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    model = resnet50(num_classes=3)
    assert model.load_state_dict(flow.load(tmp_path / "x.safetensors")) == ([], [])
    assert int(model.bn1.num_batches_tracked.item()) == 2
