"""The models that `flow.load_pretrained` knows: how config.json names them and what it may say.

Every entry of a config.json is one of four: a field of our configuration, a setting that must have the value that our
model computes with, one that changes no result, or unknown; the last is an error, never passed over.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError
from ..location import user_location
from ..nn.module import Module
from .bert import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)
from .gpt2 import GPT2, GPT2Config, Transformer
from .llama import Llama, LlamaConfig, LlamaModel

# A size above this is no size of a model; nothing is allocated before it is checked.
_LARGEST = 1 << 24
_LARGEST_NUMBER = 1e12

# What changes no result of a forward pass: names of versions and labels, tokens' numbers, habits of generation.
_IGNORED = frozenset(
    [
        "architectures",
        "model_type",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "_name_or_path",
        "name_or_path",
        "bos_token_id",
        "eos_token_id",
        "sep_token_id",
        "cls_token_id",
        "mask_token_id",
        "unk_token_id",
        "decoder_start_token_id",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "finetuning_task",
        "task_specific_params",
        "tokenizer_class",
        "prefix",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "use_return_dict",
        "gradient_checkpointing",
        "attn_implementation",
        "_attn_implementation_autoset",
        "torchscript",
        "use_bfloat16",
        "chunk_size_feed_forward",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "num_return_sequences",
        "transformers.js_config",
    ]
)
_FIXED: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
}


@dataclass(frozen=True)
class Family:
    """One `model_type`."""

    model_type: str
    config: type[Any]
    architectures: Mapping[str, Callable[[Any], Module]]
    layers: str  # the field that says how many layers there are
    base: str  # what stands before the base model's keys in models with a head
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ignored: Collection[str] = ()
    buffers: tuple[str, ...] = ()  # keys of older files that hold no weights
    renamed: tuple[tuple[str, str], ...] = ()  # endings in older files, and ours
    read: Callable[[dict[str, Any]], None] = lambda raw: None  # older and newer forms into ours
    write: Callable[[dict[str, Any]], None] = lambda raw: None

    def config_of(self, raw: Mapping[str, Any], ignore: Collection[str]) -> Any:
        """The configuration that a config.json asks for."""
        location = user_location()
        given = {name: value for name, value in raw.items() if name not in ignore}
        self.read(given)
        own = {one.name: one for one in dataclasses.fields(self.config)}
        fixed = {**_FIXED, **self.fixed}
        values = {}
        for name, value in given.items():
            if name in own:
                values[name] = _checked(name, own[name].type, value, location)
            elif name in fixed:
                if value not in fixed[name]:
                    raise CheckpointError(
                        f"config.json: {name}={value!r}, and {self.config.__name__[:-6]} is computed with "
                        f"{fixed[name][0]!r} here; ignore=({name!r},) loads it all the same",
                        location,
                    )
            elif name not in _IGNORED and name not in self.ignored:
                raise CheckpointError(
                    f"config.json: {name}={value!r} is not known for model_type {self.model_type!r}, so it may change "
                    f"what the model computes; if it does not, ignore=({name!r},) loads it",
                    location,
                )
        return self.config(**values)

    def written(self, config: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A config.json of this configuration; what it does not know stands as in `raw`."""
        result = {**raw, **dataclasses.asdict(config), "model_type": self.model_type}
        self.write(result)
        return result

    def our_key(self, key: str) -> str | None:
        """A file's key with today's name; None if it holds no weights."""
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in self.buffers):
            return None
        for old, new in self.renamed:
            if key.endswith(old):
                return key[: -len(old)] + new
        return key

    def architecture_of(self, model: Module) -> str | None:
        """The name of a model's class in config.json."""
        for name, kind in self.architectures.items():
            if type(model) is kind:
                return name
        return None


def _checked(name: str, kind: Any, value: Any, location: Any) -> Any:
    """A value of the type that the annotation of a field names, within reason."""
    kinds = [one.strip() for one in str(kind).split("|")]
    if value is None and "None" in kinds:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if "bool" in kinds and isinstance(value, bool):
        return value
    if "str" in kinds and isinstance(value, str):
        return value
    if "int" in kinds and is_number:
        least = -1 if name.endswith("_id") else 1
        if least <= value <= _LARGEST and int(value) == value:
            return int(value)
    if "float" in kinds and is_number and 0 <= value <= _LARGEST_NUMBER:
        return float(value)
    if any(one.startswith("dict") for one in kinds) and isinstance(value, dict):
        return value
    raise CheckpointError(f"config.json: {name}={value!r} cannot be: {kind} is needed", location)


def _read_bert(raw: dict[str, Any]) -> None:
    labels = raw.get("id2label")
    if isinstance(labels, dict) and labels:
        raw["num_labels"] = len(labels)


def _write_bert(raw: dict[str, Any]) -> None:
    count = raw.pop("num_labels")
    if count != len(raw.get("id2label") or (0, 1)):
        raw["id2label"] = {str(i): f"LABEL_{i}" for i in range(count)}
        raw["label2id"] = {f"LABEL_{i}": i for i in range(count)}


def _read_llama(raw: dict[str, Any]) -> None:
    """Newer files keep what turns the heads in one entry."""
    rope = raw.pop("rope_parameters", None)
    if isinstance(rope, dict):
        rope = dict(rope)
        raw["rope_theta"] = rope.pop("rope_theta", raw.get("rope_theta", LlamaConfig.rope_theta))
        raw["rope_scaling"] = rope
    scaling = raw.get("rope_scaling")
    if isinstance(scaling, dict) and scaling.get("rope_type", scaling.get("type")) == "default":
        raw["rope_scaling"] = None


def _write_llama(raw: dict[str, Any]) -> None:
    raw.pop("rope_parameters", None)


_ALL = (
    Family(
        "gpt2",
        GPT2Config,
        {"GPT2LMHeadModel": GPT2, "GPT2Model": Transformer},
        layers="n_layer",
        base="transformer.",
        fixed={"scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,)},
        ignored=(
            *("n_ctx", "reorder_and_upcast_attn", "pad_token_id", "summary_type"),
            *("summary_use_proj", "summary_activation", "summary_proj_to_labels"),
            "summary_first_dropout",
        ),
        buffers=("*.attn.bias", "*.attn.masked_bias"),
    ),
    Family(
        "bert",
        BertConfig,
        {
            "BertModel": BertModel,
            "BertForPreTraining": BertForPreTraining,
            "BertForMaskedLM": BertForMaskedLM,
            "BertForSequenceClassification": BertForSequenceClassification,
        },
        layers="num_hidden_layers",
        base="bert.",
        fixed={"position_embedding_type": ("absolute",), "tie_word_embeddings": (True,)},
        ignored=(
            *("directionality", "pooler_fc_size", "pooler_num_attention_heads"),
            *("pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"),
        ),
        buffers=("*embeddings.position_ids", "*embeddings.token_type_ids"),
        renamed=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
        read=_read_bert,
        write=_write_bert,
    ),
    Family(
        "llama",
        LlamaConfig,
        {"LlamaForCausalLM": Llama, "LlamaModel": LlamaModel},
        layers="num_hidden_layers",
        base="model.",
        ignored=("pretraining_tp",),
        buffers=("*rotary_emb.inv_freq",),
        read=_read_llama,
        write=_write_llama,
    ),
)
FAMILIES: Mapping[str, Family] = {family.model_type: family for family in _ALL}
