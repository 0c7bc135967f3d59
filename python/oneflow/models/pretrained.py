"""load_pretrained and save_pretrained: folders as Hugging Face writes them.

    config.json                      what the model is
    model.safetensors                its weights, or
    model.safetensors.index.json     in which of several files each lies

Such a folder may come from anywhere. Nothing in it is run, no file outside it is read, and nothing is allocated
before its sizes have been compared with the files'.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from .. import environment
from ..dtypes import DType
from ..errors import CheckpointError, Error
from ..gather import gather
from ..location import user_location
from ..nn.module import Module
from ..serialization import load, read_json, save
from ..state import StateCell
from ..tensor import Tensor
from .families import FAMILIES, Family

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_MAX_JSON = 1 << 26
_SHOWN = 6  # names in a message


def load_pretrained(
    path: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    strict: bool = True,
    ignore: Collection[str] = (),
) -> Any:
    """The model in a local folder of Hugging Face's layout, its parameters in float32.

    Args:
        architecture: the class, by Hugging Face's name ("BertForPreTraining"), if not the one that config.json names.
        strict: False keeps first values for what the files lack and passes over what the model lacks; a warning
            names both.
        ignore: entries of config.json that are not looked at.

    Raises CheckpointError where the folder is damaged or does not fit the model, before anything is loaded.
    """
    folder = Path(path)
    raw = _read_object(folder / _CONFIG)
    family, name = _find(raw, architecture)
    config = family.config_of(raw, ignore)
    weights = _read_weights(folder)
    layers = getattr(config, family.layers)
    if layers > len(weights):
        _refuse(f"{_CONFIG} asks for {layers} layers, and the files hold {len(weights)} tensors")
    try:
        model = family.architectures[name](config)
    except Error as error:
        _refuse(f"{_CONFIG}: {error.message}")
    _load(model, family, weights, strict)
    object.__setattr__(model, "_published_config", raw)
    return model


def save_pretrained(
    model: Module,
    path: str | os.PathLike[str],
    *,
    dtype: DType | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Writes a folder that load_pretrained and Hugging Face's from_pretrained read. All ranks call it; rank 0 writes.

    Args:
        dtype: of the weights in the files, by default that of the parameters. Weights that came from a file in
            bfloat16 or float16 and have not changed are the same bits in it.
        max_shard_bytes: weights beyond it go into several files and an index.
    """
    location = user_location()
    family, name = _family_of(model)
    if (
        isinstance(max_shard_bytes, bool)
        or not isinstance(max_shard_bytes, int)
        or max_shard_bytes < 1
    ):
        raise CheckpointError(f"max_shard_bytes={max_shard_bytes!r}: an integer from 1", location)
    state = gather({names[0]: tensor for names, tensor in _states(model).items()})
    if environment.rank() != 0:
        return
    weights = {
        key: tensor.to(dtype) if dtype is not None and tensor.dtype.is_floating_point else tensor
        for key, tensor in state.items()
    }
    config = family.written(model.config, getattr(model, "_published_config", {}))
    config["architectures"] = [name]
    kind = next(tensor.dtype.title for tensor in weights.values() if tensor.dtype.is_floating_point)
    config["dtype" if "dtype" in config else "torch_dtype"] = kind
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_weights(folder, weights, max_shard_bytes)
        _write_object(folder / _CONFIG, config)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error}", location) from error


def _refuse(message: str) -> NoReturn:
    raise CheckpointError(message, user_location())


def _some(names: Collection[str]) -> str:
    """Names for a message."""
    shown = sorted(names)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


# Which model.


def _find(raw: Mapping[str, Any], architecture: str | None) -> tuple[Family, str]:
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        _refuse(
            f"{_CONFIG}: model_type {kind!r} is not known; there are {', '.join(FAMILIES)}. The state dict of any "
            "other model is read by model.load_state_dict(flow.load(file))"
        )
    family = FAMILIES[kind]
    named = raw.get("architectures")
    if architecture is None and isinstance(named, list) and len(named) == 1:
        architecture = named[0]
    if not isinstance(architecture, str) or architecture not in family.architectures:
        _refuse(
            f"{_CONFIG}: architectures={named!r}; of model_type {kind!r} there are {', '.join(family.architectures)}: "
            "choose one by architecture="
        )
    return family, architecture


def _family_of(model: Module) -> tuple[Family, str]:
    for family in FAMILIES.values():
        if (name := family.architecture_of(model)) is not None:
            return family, name
    known = [name for family in FAMILIES.values() for name in family.architectures]
    _refuse(
        f"{type(model).__name__} has no layout of Hugging Face's here ({', '.join(known)} have); "
        'flow.save(model.state_dict(), "model.safetensors") writes any model'
    )


def _states(model: Module) -> dict[tuple[str, ...], Tensor]:
    """Each state once, by all its names; the first is the one that Hugging Face writes."""
    names: dict[StateCell, list[str]] = {}
    tensors: dict[StateCell, Tensor] = {}
    for name, tensor in model.state_dict().items():
        cell = tensor._source
        assert isinstance(cell, StateCell)
        names.setdefault(cell, []).append(name)
        tensors.setdefault(cell, tensor)
    return {tuple(names[cell]): tensor for cell, tensor in tensors.items()}


# Reading.


def _read_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON:
            _refuse(f"{path} has {path.stat().st_size} bytes: no {path.name} is that large")
        value = read_json(path.read_bytes())
    except OSError as error:
        _refuse(
            f"{path} cannot be read ({error.strerror}): load_pretrained takes a local folder with {_CONFIG} and "
            f"{_WEIGHTS} or {_INDEX}; nothing is downloaded"
        )
    except ValueError as error:
        _refuse(f"{path} is not JSON: {error}")
    if not isinstance(value, dict):
        _refuse(f"{path} is no JSON object")
    return value


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of all files, by the files' names of them."""
    if (folder / _WEIGHTS).exists():
        return load(folder / _WEIGHTS)
    if not (folder / _INDEX).exists():
        pickled = sorted(p.name for p in folder.glob("*.bin"))
        way_out = (
            f"; {pickled[0]} is a pickle, which can run any program: convert it to safetensors where it came from"
            if pickled
            else ""
        )
        _refuse(f"{folder} has neither {_WEIGHTS} nor {_INDEX}{way_out}")
    places = _read_object(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        _refuse(f"{folder / _INDEX} has no weight_map")
    result: dict[str, Tensor] = {}
    by_file: dict[str, list[str]] = {}
    for key, file in places.items():
        if (
            not isinstance(file, str)
            or not file.endswith(".safetensors")
            or not file.isprintable()
            or file != Path(file).name
        ):
            _refuse(
                f"{folder / _INDEX}: {key} lies in {file!r}; only a .safetensors file of the same folder may be named"
            )
        by_file.setdefault(file, []).append(key)
    for file, keys in sorted(by_file.items()):
        inside = load(folder / file)
        if set(inside) != set(keys):
            _refuse(
                f"{folder / file} does not hold what {_INDEX} says: missing {_some(set(keys) - set(inside)) or 'none'}; "
                f"not in the index {_some(set(inside) - set(keys)) or 'none'}"
            )
        result.update(inside)
    return result


def _load(model: Module, family: Family, files: Mapping[str, Tensor], strict: bool) -> None:
    """Checks all weights against the model, then writes them."""
    states = _states(model)
    weights = _by_our_names(family, files, {name for names in states for name in names})
    values: dict[str, Tensor] = {}
    missing: list[str] = []
    for names, own in states.items():
        given = {name: weights.pop(name) for name in names if name in weights}
        if not given:
            missing.append(names[0])
            continue
        first, *others = given.values()
        if any(not _same(first, other) for other in others):
            _refuse(
                f"{' and '.join(given)} are one weight in this model, and differ in the files; an untied model says "
                f'"tie_word_embeddings": false in {_CONFIG}'
            )
        for name, tensor in given.items():
            if tensor.shape != own.shape:
                _refuse(
                    f"{name} has the shape {list(tensor.shape)} in the files and {list(own.shape)} by {_CONFIG}"
                )
            if tensor.dtype.name not in ("f32", "bf16", "f16"):
                _refuse(
                    f"{name} has {tensor.dtype.title} elements; float32, bfloat16 and float16 are loaded exactly"
                )
        values.update(dict.fromkeys(names, first))
    if missing or weights:
        message = (
            f"the files do not fit {type(model).__name__}: missing {_some(missing) or 'none'}; "
            f"unexpected {_some(weights) or 'none'}"
        )
        if strict:
            _refuse(
                f"{message}. Another architecture= ({', '.join(family.architectures)}) may fit; strict=False loads "
                "what does"
            )
        warnings.warn(message, stacklevel=3)
    model.load_state_dict(values, strict=False)


def _by_our_names(family: Family, files: Mapping[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """Files of the base model are read by models with a head, and the other way round; older names by both."""
    weights: dict[str, Tensor] = {}
    for key, tensor in files.items():
        ours = family.our_key(key)
        if ours in weights:
            _refuse(f"{key} and another key of the files are both {ours}")
        if ours is not None:
            weights[ours] = tensor
    has_base = any(name.startswith(family.base) for name in own)
    if has_base and not any(key.startswith(family.base) for key in weights):
        return {key if key in own else family.base + key: v for key, v in weights.items()}
    if not has_base and any(key.startswith(family.base) for key in weights):
        return {key.removeprefix(family.base): v for key, v in weights.items()}
    return weights


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype is b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


# Writing.


def _write_weights(folder: Path, weights: Mapping[str, Tensor], max_shard_bytes: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        nbytes = tensor.numel() * tensor.dtype.itemsize
        if shards[-1] and size + nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += nbytes
    count = len(shards)
    files = [
        _WEIGHTS if count == 1 else f"model-{i + 1:05d}-of-{count:05d}.safetensors"
        for i in range(count)
    ]
    kept = {*files, *([_INDEX] if count > 1 else [])}
    others = {one.name for one in folder.glob("model*.safetensors*")} - kept
    if others:
        _refuse(
            f"{folder} holds weights of another save, {_some(others)}, which would be read with these; give another "
            "folder or remove them"
        )
    for file, shard in zip(files, shards, strict=True):
        save(shard, folder / file, metadata={"format": "pt"})  # Hugging Face asks for it
    if count > 1:
        total = sum(t.numel() * t.dtype.itemsize for t in weights.values())
        places = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
        _write_object(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _write_object(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
