"""Teams whose seats see the actions of their parents in a graph: Bayesian networks of neural networks or of tables."""

from marl_engine.policies.bayes_net.policy import BayesNetPolicy, BayesNetSpec
from marl_engine.policies.bayes_net.table import BayesNetTable, BayesNetTableSpec

__all__ = ["BayesNetPolicy", "BayesNetSpec", "BayesNetTable", "BayesNetTableSpec"]
