"""Policies: tables, networks, mixtures, and in `language` models that answer in tokens."""

from marl_engine.policies.mlp import BoxPolicy, Network, NetworkPolicy
from marl_engine.policies.softmax_table import Logits, LogitsPolicy
from marl_engine.policies.tabular import Table, TablePolicy

__all__ = ["BoxPolicy", "Logits", "LogitsPolicy", "Network", "NetworkPolicy", "Table", "TablePolicy"]
