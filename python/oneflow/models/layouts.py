"""tensor_parallel: rules that cut a model's weights over a mesh axis (Shoeybi et al. 2019): heads, the width of MLPs,
the vocabulary, output channels of convolutions. The compiler finds the layouts of all other values."""

from __future__ import annotations

import fnmatch

from ..errors import ShardingError
from ..location import user_location
from ..nn.module import Module

# The first pattern that fits a parameter's name; Conv1D of GPT-2 holds its weight [in, out].
_RULES = {
    "*wte.weight": "S(0)",
    "*.mlp.c_fc.weight": "S(1)",
    "*.c_proj.weight": "S(0)",
    "*word_embeddings.weight": "S(0)",
    "*.self.query.weight": "S(0)",
    "*.self.key.weight": "S(0)",
    "*.self.value.weight": "S(0)",
    "*.attention.output.dense.weight": "S(1)",
    "*.intermediate.dense.weight": "S(0)",
    "*.output.dense.weight": "S(1)",
    "*embed_tokens.weight": "S(0)",
    "*.[qkv]_proj.weight": "S(0)",
    "*.o_proj.weight": "S(1)",
    "*.gate_proj.weight": "S(0)",
    "*.up_proj.weight": "S(0)",
    "*.down_proj.weight": "S(1)",
    "*lm_head.weight": "S(0)",
    "*conv?.weight": "S(0)",
    "*downsample.0.weight": "S(0)",
}


def tensor_parallel(model: Module, axis: str = "tp") -> dict[str, dict[str, str]]:
    """Rules for `parallel=` of a step over one of these models; others may be added to them."""
    rules = {}
    for name, _ in model.named_parameters():
        for pattern, layout in _RULES.items():
            if fnmatch.fnmatchcase(name, pattern):
                rules[name] = {axis: layout}
                break
    if not rules:
        raise ShardingError(
            f"tensor_parallel knows the models of oneflow.models, and no parameter of {type(model).__name__}; write "
            'rules such as {"fc1.weight": {"tp": "S(0)"}}',
            user_location(),
        )
    return rules
