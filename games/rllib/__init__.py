"""Games as environments of RLlib."""

from games.rllib.export import to_rllib

__all__ = ["to_rllib"]
