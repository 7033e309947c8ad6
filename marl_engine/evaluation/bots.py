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
    """Measures what each seat of a profile earns against the bots of a game, how often it wins, and what
    `ReturnEvaluator` measures.

    The score is the return against the last of `game.bots`. Where payoffs say more than who wins, as in poker, that
    return is shown instead of the share of games won.
    """

    def __init__(self, game: BotGame, reference: Profile | None, runner: Runner, episodes: int):
        self.game, self.runner, self.episodes = game, runner, episodes
        self.returns = ReturnEvaluator(game, reference, runner, episodes)
        self.view = view_of(game)

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


def view_of(game: BotGame) -> View:
    """Returns how results against bots are shown, those of the strongest bot first."""
    bots = game.bots[::-1]
    if game.win_or_lose:
        rates = {f"evaluation/win_rate/{bot}": bot for bot in bots}
        primary = {name: (f"wins against {bot}", ".3f") for name, bot in rates.items()}
        return View((Panel("games won against bots", rates, limits=(0.0, 1.0)), RETURNS), primary, {})
    returns = {f"evaluation/return/{bot}/mean": bot for bot in bots}
    primary = {name: (f"return against {bot}", ".3f") for name, bot in returns.items()}
    return View((Panel("return against bots", returns), RETURNS), primary, {})


def headline(metrics: Metrics, game: BotGame, episodes: int) -> tuple[str, str]:
    """Returns the result against the strongest bot of every evaluation, and a line with the others and the games."""
    played = [bot for bot in (*game.bots, *game.slow_bots) if f"win_rate/{bot}" in metrics]
    strongest, games = game.bots[-1], f"sampled, {episodes} games from each seat"
    rates = {bot: f"{metrics[f'win_rate/{bot}']:.3f}" for bot in played}
    if game.win_or_lose:
        others = ", ".join(f"{rate} against {bot}" for bot, rate in rates.items() if bot != strongest)
        return f"wins {rates[strongest]} of games against {strongest}", f"({f'{others}; ' if others else ''}{games})"
    returns = {bot: f"{metrics[f'return/{bot}/mean']:.3g} ± {metrics[f'return/{bot}/stderr']:.2g}" for bot in played}
    others = "".join(f"{returns[bot]} against {bot}, " for bot in played if bot != strongest)
    return (
        f"return {returns[strongest]} against {strongest}",
        f"({others}wins {rates[strongest]} of games against {strongest}; {games})",
    )
