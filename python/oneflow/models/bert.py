"""BERT (Devlin et al. 2019): an encoder trained to fill in masked tokens and to tell whether two sentences follow.

State dicts have the names and layouts of Hugging Face's classes of the same names. Arguments of `forward` have its
order: tokens, attention mask, token types.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from ..errors import ShapeError
from ..functions import ne, unsqueeze
from ..location import user_location
from ..nn import functional as F
from ..tensor import Tensor
from .activations import activation


@dataclass(frozen=True)
class BertConfig:
    """Sizes; by default those of BERT base. `num_labels`: classes of BertForSequenceClassification."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    num_labels: int = 2

    @staticmethod
    def base() -> BertConfig:
        """12 layers of width 768: 110 million parameters."""
        return BertConfig()

    @staticmethod
    def large() -> BertConfig:
        """24 layers of width 1024: 340 million parameters."""
        return BertConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
        )


def _linear(in_features: int, out_features: int, config: BertConfig) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, std=config.initializer_range)
    nn.init.zeros_(layer.bias)
    return layer


def _norm(config: BertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class BertEmbeddings(nn.Module):
    """The sum of a token's, its position's and its type's embedding, normed."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        for table in (self.word_embeddings, self.position_embeddings, self.token_type_embeddings):
            nn.init.normal_(table.weight, std=config.initializer_range)
        self.LayerNorm = _norm(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, tokens: Tensor, types: Tensor | None) -> Tensor:
        length = tokens.shape[1]
        if length > self.position_embeddings.num_embeddings:
            raise ShapeError(
                f"{length} tokens, but the model has {self.position_embeddings.num_embeddings} positions",
                user_location(),
            )
        table = self.token_type_embeddings
        kinds = table.weight[:1] if types is None else table(types)
        x = self.word_embeddings(tokens) + kinds + self.position_embeddings.weight[:length]
        return self.dropout(self.LayerNorm(x))


class BertSelfAttention(nn.Module):
    """Attention over heads."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.num_attention_heads
        if size % self.heads:
            raise ShapeError(
                f"hidden_size={size} is no multiple of num_attention_heads={self.heads}",
                user_location(),
            )
        self.query = _linear(size, size, config)
        self.key = _linear(size, size, config)
        self.value = _linear(size, size, config)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        n, length, size = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.view(n, length, self.heads, size // self.heads).transpose(1, 2)

        y = F.scaled_dot_product_attention(
            heads(self.query(x)),
            heads(self.key(x)),
            heads(self.value(x)),
            attn_mask=visible,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return y.transpose(1, 2).reshape(n, length, size)


class BertOutput(nn.Module):
    """A linear map, added to the input of what comes before it, normed."""

    def __init__(self, in_features: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = _linear(in_features, config.hidden_size, config)
        self.LayerNorm = _norm(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(y)) + x)


class BertAttention(nn.Module):
    """Self-attention and its output."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertOutput(config.hidden_size, config)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        return self.output(self.self(x, visible), x)


class BertIntermediate(nn.Module):
    """The wide half of the MLP."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = _linear(config.hidden_size, config.intermediate_size, config)
        self.act = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.dense(x))


class BertLayer(nn.Module):
    """Attention and MLP, each added to its input and normed."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config.intermediate_size, config)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        x = self.attention(x, visible)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Module):
    """The layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, visible)
        return x


class BertPooler(nn.Module):
    """What stands for a whole sequence: a map of its first token's features."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = _linear(config.hidden_size, config.hidden_size, config)

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(self.dense(x[:, 0]))


class BertModel(nn.Module):
    """Features [n, l, hidden_size] of tokens [n, l], and [n, hidden_size] of each sequence, None without a pooler.

    `attention_mask` [n, l]: tokens where it is 0 or False are seen by none. `token_type_ids` [n, l]: 0 for the first
    sentence, 1 for the second.
    """

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        for name, given in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if given is not None and given.shape != tokens.shape:
                raise ShapeError(
                    f"{name} has the shape {list(given.shape)}, the tokens {list(tokens.shape)}",
                    user_location(),
                )
        visible = None
        if attention_mask is not None:
            visible = unsqueeze(unsqueeze(ne(attention_mask, 0), 1), 1)
        x = self.encoder(self.embeddings(tokens, token_type_ids), visible)
        return x, None if self.pooler is None else self.pooler(x)


class BertPredictionHeadTransform(nn.Module):
    """What comes before the scores of tokens."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = _linear(config.hidden_size, config.hidden_size, config)
        self.act = activation(config.hidden_act)
        self.LayerNorm = _norm(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.act(self.dense(x)))


class BertLMPredictionHead(nn.Module):
    """Scores of tokens: the decoder's weight is the table of words, its bias is also called `bias`."""

    def __init__(self, config: BertConfig, words: nn.Embedding) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = _linear(config.hidden_size, config.vocab_size, config)
        self.decoder.weight = words.weight
        self.bias = self.decoder.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class BertPreTrainingHeads(nn.Module):
    """The two tasks' scores, or the first one's alone."""

    def __init__(self, config: BertConfig, words: nn.Embedding, relationship: bool = True) -> None:
        super().__init__()
        self.predictions = BertLMPredictionHead(config, words)
        if relationship:
            self.seq_relationship = _linear(config.hidden_size, 2, config)


class BertForPreTraining(nn.Module):
    """Scores [n, l, vocab_size] of the token at each place, and [n, 2]: that the second sentence follows the first,
    or does not."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        self.cls = BertPreTrainingHeads(config, self.bert.embeddings.word_embeddings)

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x, pooled = self.bert(tokens, attention_mask, token_type_ids)
        return self.cls.predictions(x), self.cls.seq_relationship(pooled)


class BertForMaskedLM(nn.Module):
    """Scores [n, l, vocab_size] of the token at each place."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config, add_pooling_layer=False)
        words = self.bert.embeddings.word_embeddings
        self.cls = BertPreTrainingHeads(config, words, relationship=False)

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        x, _ = self.bert(tokens, attention_mask, token_type_ids)
        return self.cls.predictions(x)


class BertForSequenceClassification(nn.Module):
    """Logits [n, num_labels] of whole sequences."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        given = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if given is None else given)
        self.classifier = _linear(config.hidden_size, config.num_labels, config)

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        _, pooled = self.bert(tokens, attention_mask, token_type_ids)
        return self.classifier(self.dropout(pooled))


def pretraining_loss(
    scores: Tensor, relationship: Tensor, labels: Tensor, next_sentence_label: Tensor
) -> Tensor:
    """The sum of both tasks' cross entropies. labels [n, l]: the token where one was masked, -100 elsewhere;
    next_sentence_label [n]: 0 where the second sentence follows, 1 where it was put there."""
    return F.cross_entropy(scores.flatten(0, 1), labels.flatten()) + F.cross_entropy(
        relationship, next_sentence_label
    )
