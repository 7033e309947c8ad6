"""RLlib as a neighbour: games as its environments, its algorithms as responders, and its checkpoints as policies."""

from games.rllib.export import to_rllib
from games.rllib.responder import RLlibResponder

__all__ = ["RLlibResponder", "to_rllib"]
