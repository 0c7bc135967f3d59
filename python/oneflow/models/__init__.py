"""Models as users know them: small readable files whose state dicts have the names of the published weights."""

from .gpt2 import GPT2, GPT2Config

__all__ = ["GPT2", "GPT2Config"]
