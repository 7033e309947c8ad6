"""Teams that learn a joint policy."""

from solvers.joint.bayes_net import BayesNet

__all__ = ["BayesNet"]
