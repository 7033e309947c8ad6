"""Self-play by an algorithm of RLlib, which `responder=rllib` runs."""

from collections.abc import Iterator
from dataclasses import dataclass

from marl_engine.capabilities import AlgorithmResponder
from marl_engine.runners import LOCAL
from marl_engine.types import Profile, Progress, Runner
from solvers.self_play import SelfPlay


@dataclass
class RLlib:
    """Plays against: itself. Anchored to: nothing. Magnet: none.

    The preset gives `algorithm` to the responder and chooses the kind of policy that it learns.
    """

    STATE = ()

    algorithm: str = "PPO"

    def solve(
        self, profile: Profile, responder: AlgorithmResponder, runner: Runner = LOCAL, after: int = 0
    ) -> Iterator[Progress]:
        """See `Solver`. Raises ValueError if the responder runs another algorithm."""
        if responder.algorithm != self.algorithm:
            raise ValueError(
                f"solver.algorithm={self.algorithm} must be responder.algorithm, not {responder.algorithm}; "
                "leave out responder.algorithm"
            )
        return SelfPlay().solve(profile, responder, runner, after)
