"""Evaluation of profiles against the bots of a game, in addition to returns."""

from collections.abc import Sequence

import torch
from torch import Tensor

from marl_engine.capabilities import BotGame
from marl_engine.evaluation.report import RETURNS, Panel, Report, View
from marl_engine.evaluation.returns import (
    SEED,
    ReturnEvaluator,
    mean_and_error,
    mean_over_seats,
    summarise_pairs,
)
from marl_engine.evaluation.scores import BOT, score_of
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.types import Metrics, Profile, Runner


class BotEvaluator:
    """Measures how often each seat of a profile wins against the bots of a game, and what `ReturnEvaluator` measures.

    The score is the return against the last of `game.bots`.
    """

    def __init__(self, game: BotGame, reference: Profile | None, runner: Runner, episodes: int):
        self.game, self.runner, self.episodes = game, runner, episodes
        self.returns = ReturnEvaluator(game, reference, runner, episodes)
        wins = {f"evaluation/win_rate/{bot}": bot for bot in reversed(game.bots)}
        panel = Panel("games won against bots", wins, limits=(0.0, 1.0))
        primary = {name: (f"wins against {bot}", ".3f") for name, bot in wins.items()}
        self.view = View((panel, RETURNS), primary, {})

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """See `Evaluator`. A full report also has games with greedy actions, and games against slow bots."""
        metrics = dict(self.returns.evaluate(profile, iteration=iteration, full=full).metrics)
        for bot in (*self.game.bots, *(self.game.slow_bots if full else ())):
            sampled, returns = self._play(profile, bot)
            metrics |= sampled
            if bot == self.game.bots[-1]:
                metrics |= summarise_pairs(BOT, returns)
            if full:
                greedy, _ = self._play(profile, bot, greedy=True)
                metrics |= {f"{name}/greedy": each for name, each in greedy.items()}
        return Report(metrics, score_of(metrics), headline(metrics, self.game, self.episodes))

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """See `Evaluator`."""
        return self.returns.compare(profiles)

    def _play(self, profile: Profile, bot: str, greedy: bool = False) -> tuple[Metrics, Tensor]:
        """Returns the share of games won and the return against a bot, and the returns (N,) of single games.

        All are means over the seats.
        """
        seats = range(self.game.players)
        lineups = [Lineup(profile, greedy, bot, seat) for seat in seats]
        results = score_lineups(self.runner, self.game, lineups, derive_seeds(SEED, self.episodes))
        won = torch.stack([wins(payoffs, seat) for seat, payoffs in enumerate(results)])
        returns = mean_over_seats(results)
        mean, error = mean_and_error(returns)
        metrics = {f"win_rate/{bot}": won.mean().item(), f"return/{bot}/mean": mean, f"return/{bot}/stderr": error}
        return metrics, returns


def wins(payoffs: Tensor, seat: int) -> Tensor:
    """Returns in which games (N,) a seat earned more than every other seat, from payoffs (N, P), as 0 or 1."""
    others = torch.cat([payoffs[:, :seat], payoffs[:, seat + 1 :]], dim=1)
    return (payoffs[:, seat] > others.amax(1)).float()


def headline(metrics: Metrics, game: BotGame, episodes: int) -> tuple[str, str]:
    """Returns the share of games won against the strongest bot of every evaluation, and against the others."""
    rates = {bot: metrics[name] for bot in (*game.bots, *game.slow_bots) if (name := f"win_rate/{bot}") in metrics}
    strongest = game.bots[-1]
    others = ", ".join(f"{rate:.3f} against {bot}" for bot, rate in rates.items() if bot != strongest)
    number = f"wins {rates[strongest]:.3f} of games against {strongest}"
    return number, f"({f'{others}; ' if others else ''}sampled, {episodes} games from each seat)"
