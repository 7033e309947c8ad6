"""Policies that generate tokens: enumerable ones, and transformers with LoRA adapters."""

from marl_engine.policies.language.enumerable import EnumerableLMSpec
from marl_engine.policies.language.transformer import TransformerSpec

__all__ = ["TransformerSpec", "EnumerableLMSpec"]
