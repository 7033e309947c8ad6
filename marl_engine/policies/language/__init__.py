"""Policies that answer in tokens: enumerable ones and transformers with LoRA adapters."""

from marl_engine.policies.language.enumerable import Tiny
from marl_engine.policies.language.transformer import Language

__all__ = ["Language", "Tiny"]
