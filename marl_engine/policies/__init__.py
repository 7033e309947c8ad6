"""Policies: tables, networks with and without memory, mixtures, and in `language` models that answer in tokens."""

from marl_engine.policies.mlp import GaussianMLPPolicy, MLPPolicy, MLPSpec
from marl_engine.policies.recurrent import RecurrentPolicy, RecurrentSpec
from marl_engine.policies.softmax_table import SoftmaxTablePolicy, SoftmaxTableSpec
from marl_engine.policies.tabular import TablePolicy, TabularSpec

__all__ = [
    "GaussianMLPPolicy",
    "SoftmaxTableSpec",
    "SoftmaxTablePolicy",
    "MLPSpec",
    "MLPPolicy",
    "RecurrentSpec",
    "RecurrentPolicy",
    "TabularSpec",
    "TablePolicy",
]
