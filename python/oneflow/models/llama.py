"""Llama (Touvron et al. 2023; Grattafiori et al. 2024): a decoder with RMSNorm, rotary positions, grouped-query
attention and SwiGLU.

The state dict has the names and layouts of Hugging Face's LlamaForCausalLM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import nn
from ..errors import ShapeError
from ..location import user_location
from ..nn import functional as F
from ..tensor import Tensor
from .activations import activation
from .cache import KeyValueCache
from .generation import CausalLanguageModel
from .rotary import RotaryEmbedding, rotate


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes; by default those of Llama 2 7B. `num_key_value_heads`: as many as heads if None; `head_dim`:
    hidden_size / num_attention_heads if None; `rope_scaling`: how published longer contexts stretch the positions
    (`rotary.RotaryEmbedding` says which kinds there are)."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False

    @property
    def key_value_heads(self) -> int:
        """How many heads keys and values have."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """The width of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads


def _linear(in_features: int, out_features: int, bias: bool, config: LlamaConfig) -> nn.Linear:
    layer = nn.Linear(in_features, out_features, bias=bias)
    nn.init.normal_(layer.weight, std=config.initializer_range)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class LlamaAttention(nn.Module):
    """Causal self-attention; each head of key and value serves a group of heads of the query."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        heads, groups = config.num_attention_heads, config.key_value_heads
        if heads % groups or (config.head_dim is None and config.hidden_size % heads):
            raise ShapeError(
                f"num_attention_heads={heads} must be a multiple of num_key_value_heads={groups}, and divide "
                f"hidden_size={config.hidden_size} where no head_dim is given",
                user_location(),
            )
        self.heads, self.groups, self.width = heads, groups, config.head_width
        self.dropout = config.attention_dropout
        size, bias = config.hidden_size, config.attention_bias
        self.q_proj = _linear(size, heads * self.width, bias, config)
        self.k_proj = _linear(size, groups * self.width, bias, config)
        self.v_proj = _linear(size, groups * self.width, bias, config)
        self.o_proj = _linear(heads * self.width, size, bias, config)
        self.cache = KeyValueCache()

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], positions: Tensor | None = None
    ) -> Tensor:
        n, length, _ = x.shape

        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(n, length, heads, self.width).transpose(1, 2)

        query = rotate(split(self.q_proj(x), self.heads), *turn)
        key = rotate(split(self.k_proj(x), self.groups), *turn)
        value = split(self.v_proj(x), self.groups)
        visible = None
        if positions is not None:
            key, value = self.cache.store(key, value, positions)
            visible = self.cache.visible(positions)
        y = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=visible,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=visible is None,
            enable_gqa=True,
        )
        return self.o_proj(y.transpose(1, 2).reshape(n, length, self.heads * self.width))


class LlamaMLP(nn.Module):
    """SwiGLU: down(act(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        size, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = _linear(size, inner, bias, config)
        self.up_proj = _linear(size, inner, bias, config)
        self.down_proj = _linear(inner, size, bias, config)
        self.act_fn = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class LlamaDecoderLayer(nn.Module):
    """Attention and MLP, each behind an RMSNorm and added to its input."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], positions: Tensor | None = None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    """Embedding, layers and the last RMSNorm: tokens [n, length] to features [n, length, hidden_size].

    With `positions` [n, length] the tokens stand there and attend to what the caches hold.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        nn.init.normal_(self.embed_tokens.weight, std=config.initializer_range)
        self.layers = nn.ModuleList(
            [LlamaDecoderLayer(config) for _ in range(config.num_hidden_layers)]
        )
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config.head_width, config.rope_theta, config.rope_scaling)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        length = tokens.shape[1]
        if length > self.config.max_position_embeddings:
            raise ShapeError(
                f"{length} tokens, but the model has {self.config.max_position_embeddings} positions",
                user_location(),
            )
        x = self.embed_tokens(tokens)
        turn = self.rotary_emb(length if positions is None else positions)
        for layer in self.layers:
            x = layer(x, turn, positions)
        return self.norm(x)


class Llama(CausalLanguageModel):
    """Logits [n, length, vocab_size] of the next token after each of tokens [n, length]."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = _linear(config.hidden_size, config.vocab_size, False, config)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def features(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """What the head takes: tokens i64[n, l] -> [n, l, hidden_size]."""
        return self.model(tokens, positions)

    @property
    def max_positions(self) -> int:
        """The longest sequence, in tokens."""
        return self.config.max_position_embeddings

    def allocate_cache(self, n: int, length: int) -> None:
        """Room for keys and values of `n` sequences of at most `length` tokens, in each layer."""
        config = self.config
        for layer in self.model.layers:
            layer.self_attn.cache.allocate(n, config.key_value_heads, length, config.head_width)
