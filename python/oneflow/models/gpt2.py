"""GPT-2 (Radford et al. 2019): a decoder-only transformer with learned positions.

The state dict has the names and layouts of Hugging Face's GPT2LMHeadModel: linear maps of blocks are stored
[in, out], and `lm_head.weight` is the token table unless `tie_word_embeddings` is off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import functions as f
from .. import nn
from ..errors import ShapeError
from ..location import user_location
from ..nn import functional as F
from ..tensor import Tensor
from .activations import activation
from .cache import KeyValueCache
from .generation import CausalLanguageModel


@dataclass(frozen=True)
class GPT2Config:
    """Sizes; by default those of GPT-2 small. `n_inner`: width of the MLP, 4 * n_embd if None."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True


class Conv1D(nn.Module):
    """x @ weight + bias with weight [in, out], as GPT-2's checkpoints have it."""

    def __init__(self, out_features: int, in_features: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(f.zeros(in_features, out_features))
        nn.init.normal_(self.weight, std=std)
        self.bias = nn.Parameter(f.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y + self.bias.to(y.dtype)  # in mixed precision narrow, as a Linear's


class Attention(nn.Module):
    """Causal self-attention over heads."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        width, std = config.n_embd, config.initializer_range
        if width % config.n_head:
            raise ShapeError(
                f"n_embd={width} is no multiple of n_head={config.n_head}", user_location()
            )
        self.n_head, self.dropout = config.n_head, config.attn_pdrop
        self.c_attn = Conv1D(3 * width, width, std)
        self.c_proj = Conv1D(width, width, std / math.sqrt(2 * config.n_layer))
        self.resid_dropout = nn.Dropout(config.resid_pdrop)
        self.cache = KeyValueCache()

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        n, length, width = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.view(n, length, self.n_head, width // self.n_head).transpose(1, 2)

        query, key, value = (heads(y) for y in self.c_attn(x).split(width, dim=2))
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
        )
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(n, length, width)))


class MLP(nn.Module):
    """Two linear maps with an activation between."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        width, std = config.n_embd, config.initializer_range
        inner = config.n_inner or 4 * width
        self.c_fc = Conv1D(inner, width, std)
        self.c_proj = Conv1D(width, inner, std / math.sqrt(2 * config.n_layer))
        self.act = activation(config.activation_function)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and added to its input."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), positions)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Embeddings, blocks and the last LayerNorm: tokens [n, length] to features [n, length, n_embd].

    With `positions` [n, length] the tokens stand there and attend to what the caches hold.
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=config.initializer_range)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        length = tokens.shape[1]
        if length > self.wpe.num_embeddings:
            raise ShapeError(
                f"{length} tokens, but the model has {self.wpe.num_embeddings} positions",
                user_location(),
            )
        places = self.wpe.weight[:length] if positions is None else self.wpe(positions)
        x = self.drop(self.wte(tokens) + places)
        for block in self.h:
            x = block(x, positions)
        return self.ln_f(x)


class GPT2(CausalLanguageModel):
    """Logits [n, length, vocab_size] of the next token after each of tokens [n, length]."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight
        else:
            nn.init.normal_(self.lm_head.weight, std=config.initializer_range)

    def features(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """What the head takes: tokens i64[n, l] -> [n, l, n_embd]."""
        return self.transformer(tokens, positions)

    @property
    def max_positions(self) -> int:
        """The longest sequence, in tokens."""
        return self.config.n_positions

    def allocate_cache(self, n: int, length: int) -> None:
        """Room for keys and values of `n` sequences of at most `length` tokens, in each block."""
        config = self.config
        for block in self.transformer.h:
            block.attn.cache.allocate(n, config.n_head, length, config.n_embd // config.n_head)
