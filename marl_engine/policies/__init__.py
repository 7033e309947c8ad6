"""Policies: tables, networks with and without memory, mixtures; language models in `language`."""

from marl_engine.policies.action_values import ActionValuePolicy
from marl_engine.policies.bayes_net import BayesNetPolicy, BayesNetSpec, BayesNetTable, BayesNetTableSpec
from marl_engine.policies.board import BoardSpec
from marl_engine.policies.cnn import CNNSpec
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.network import GaussianPolicy, NetworkPolicy
from marl_engine.policies.recurrent import RecurrentPolicy, RecurrentSpec
from marl_engine.policies.softmax_table import SoftmaxTablePolicy, SoftmaxTableSpec
from marl_engine.policies.tabular import TablePolicy, TabularSpec

__all__ = [
    "ActionValuePolicy",
    "BayesNetPolicy",
    "BayesNetSpec",
    "BayesNetTable",
    "BayesNetTableSpec",
    "BoardSpec",
    "CNNSpec",
    "GaussianPolicy",
    "SoftmaxTableSpec",
    "SoftmaxTablePolicy",
    "MLPSpec",
    "NetworkPolicy",
    "RecurrentSpec",
    "RecurrentPolicy",
    "TabularSpec",
    "TablePolicy",
]
