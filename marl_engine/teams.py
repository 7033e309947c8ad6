"""Teams and opponents: whether the seats of a game have a common interest."""

from typing import Any, Protocol

from marl_engine.capabilities import missing_members
from marl_engine.errors import Refused
from marl_engine.types import Game

ROUNDING = 1e-9  # relative to the largest payoff


class CompetitiveGame(Game, Protocol):
    """A game that says whether its seats are opponents, which is an optional capability."""

    competitive: bool  # some seats lose what others gain


def check_team(name: str, game: Any) -> None:
    """Raises Refused if a game declares that its seats are opponents; `name` is that of what is for teams."""
    if not missing_members(game, CompetitiveGame) and game.competitive:
        raise Refused(
            f"{name} is for teams, and {type(game).__name__} is not a game of a team, as some seats lose what others "
            "gain; choose solver=self_play with responder=ippo or mappo, or a team's game, like game=overcooked or "
            "game=mpe/simple_spread"
        )


def sums_are_constant(payoffs: Any, rounding: float = ROUNDING) -> bool:
    """Whether payoffs (N, P) of N outcomes, an array or a tensor, have the same sum over seats in all outcomes."""
    sums = payoffs.sum(1)
    return bool(sums.max() - sums.min() <= rounding * abs(payoffs).max())


def are_opposed(payoffs: Any, rounding: float = ROUNDING) -> bool:
    """Whether payoffs (N, P) have a constant sum, and differ between seats in any outcome."""
    differ = abs(payoffs - payoffs[:, :1]).max() > rounding * abs(payoffs).max()
    return bool(differ) and sums_are_constant(payoffs, rounding)
