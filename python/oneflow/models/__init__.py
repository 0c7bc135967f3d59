"""Models as users know them: small readable files whose state dicts have the names of the published weights."""

from .bert import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    pretraining_loss,
)
from .generation import CausalLanguageModel
from .gpt2 import GPT2, GPT2Config
from .layouts import tensor_parallel
from .llama import Llama, LlamaConfig, LlamaModel
from .pretrained import load_pretrained, save_pretrained
from .resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152

__all__ = [
    "GPT2",
    "BertConfig",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertModel",
    "CausalLanguageModel",
    "GPT2Config",
    "Llama",
    "LlamaConfig",
    "LlamaModel",
    "ResNet",
    "load_pretrained",
    "pretraining_loss",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "save_pretrained",
    "tensor_parallel",
]
