"""Evaluation by playing whole games, with sampled and with greedy actions, in both orders of seats."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from marl_engine.capabilities import groups_of
from marl_engine.evaluation.report import RETURNS, Report, View, deviations
from marl_engine.evaluation.scores import BLOCK, INITIAL, OPPONENT, score_of
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.shards import Lineup, score_lineups
from marl_engine.teams import are_opposed, sums_are_constant
from marl_engine.types import Game, Metrics, Profile, Runner

SEED = 2**40  # evaluation shares no seed with training
BLOCKS = 16  # of games, whose mean returns are kept so that evaluations can be compared game by game
ROUNDING = 1e-5  # relative to the largest payoff; smaller differences are rounding errors


def seatings(profile: Profile, alike: bool) -> dict[str, Lineup]:
    """Returns the line-ups of an evaluation by name: with sampled and with greedy actions.

    If there are several seats, all with equal spaces, there are two more, in which all policies move by one seat.
    """
    swapped = {"return/swapped": [*profile[1:], profile[0]]} if len(profile) > 1 and alike else {}
    orders = {"return": profile} | swapped
    return {
        f"{name}{'/greedy' if greedy else ''}": Lineup(order, greedy)
        for name, order in orders.items()
        for greedy in (False, True)
    }


class ReturnEvaluator:
    """Measures returns of whole games, without shaping and discount.

    If the payoffs of the seats have a constant sum, it also measures the return of each policy when the other seats are
    played by the reference; with an `opponent`, it measures the same against the opponent, in every game.
    """

    view = View(
        panels=(RETURNS,),
        primary={
            "evaluation/return/opponent/mean": ("against its opponent", ".3g"),
            "evaluation/return/initial/mean": ("against where it began", ".3g"),
            "evaluation/return/mean": ("return", ".1f"),
            "return/mean": ("return", ".1f"),
        },
        secondary={},
    )

    def __init__(
        self, game: Game, reference: Profile | None, runner: Runner, episodes: int, opponent: Profile | None = None
    ):
        self.game, self.reference, self.runner, self.episodes = game, reference, runner, episodes
        self.opponent = opponent

    def evaluate(self, profile: Profile, *, iteration: int | None = None, full: bool = False) -> Report:
        """See `Evaluator`. A full report has all line-ups of `seatings`, others only the first one."""
        names, lineups = zip(*seatings(profile, len(set(groups_of(self.game))) == 1).items(), strict=True)
        payoffs = self._play(lineups if full else lineups[:1])
        metrics: Metrics = {}
        for name, games in zip(names, payoffs, strict=False):
            metrics |= summarise(name, games)
        metrics |= {f"return/{seat}": value.item() for seat, value in enumerate(payoffs[0].mean(0))}
        if self.opponent is not None:
            results = self._play(list(map(Lineup, deviations(profile, self.opponent))))
            metrics |= summarise_pairs(OPPONENT, mean_over_seats(results))
        elif self.reference is not None:
            metrics |= play_against_initial(self.reference, profile, payoffs[0], self._play)
        return Report(metrics, score_of(metrics), headline(metrics, self.episodes, len(profile)))

    def compare(self, profiles: Sequence[Profile]) -> list[list[tuple[float, float]]]:
        """See `Evaluator`."""
        return [[self._mean_payoff(row, column) for column in profiles] for row in profiles]

    def _mean_payoff(self, row: Profile, column: Profile) -> tuple[float, float]:
        """Returns the mean payoff of `row` against `column` over seats and games, and its standard error."""
        return mean_and_error(mean_over_seats(self._play(list(map(Lineup, deviations(row, column))))))

    def _play(self, lineups: Sequence[Lineup]) -> list[Tensor]:
        """Returns the payoffs (episodes, P) of each line-up."""
        return score_lineups(self.runner, self.game, lineups, derive_seeds(SEED, self.episodes))


def headline(metrics: Metrics, episodes: int, players: int) -> tuple[str, str]:
    """Returns the return with its standard error, and what was played."""
    mean = f"{metrics['return/mean']:.4g} ± {metrics['return/stderr']:.2g}"
    if f"{OPPONENT}/mean" in metrics:
        against = f"{metrics[f'{OPPONENT}/mean']:.4g} ± {metrics[f'{OPPONENT}/stderr']:.2g}"
        return (
            f"return {against}",
            f"against its opponent, sampled ({episodes} games from each seat; with itself {mean})",
        )
    if f"{INITIAL}/mean" in metrics:
        mean = f"{metrics[f'{INITIAL}/mean']:.4g} ± {metrics[f'{INITIAL}/stderr']:.2g}"
        total = f"all returns sum to {metrics['return/mean'] * players:.4g}"
        return f"return {mean}", f"against where it began, sampled ({episodes} games from each seat; {total})"
    if "return/greedy/mean" not in metrics:
        return f"return {mean}", f"sampled ({episodes} games)"
    greedy = f"{metrics['return/greedy/mean']:.4g} ± {metrics['return/greedy/stderr']:.2g}"
    remark = f"; seats swapped {metrics['return/swapped/mean']:.4g}" if "return/swapped/mean" in metrics else ""
    return f"return {mean}", f"sampled, {greedy} greedy ({episodes} games each{remark})"


def summarise(name: str, payoffs: Tensor) -> Metrics:
    """Returns the mean over seats and games of payoffs (episodes, P), and its standard error, as metrics."""
    mean, error = mean_and_error(payoffs.mean(1))
    return {f"{name}/mean": mean, f"{name}/stderr": error}


def summarise_pairs(name: str, numbers: Tensor) -> Metrics:
    """Returns the mean of numbers (N,) of N games, its standard error, and the means of blocks of games, as metrics.

    Games with the same seeds are in the same block in every evaluation; see `scores.error_of_difference`.
    """
    mean, error = mean_and_error(numbers)
    blocks = numbers.tensor_split(min(BLOCKS, len(numbers)))
    means = {f"{name}/{BLOCK}/{number}": block.mean().item() for number, block in enumerate(blocks)}
    return {f"{name}/mean": mean, f"{name}/stderr": error} | means


def mean_and_error(numbers: Tensor) -> tuple[float, float]:
    """Returns the mean of numbers (N,) and its standard error, which is 0 for a single number."""
    error = numbers.std(unbiased=True).item() / len(numbers) ** 0.5 if len(numbers) > 1 else 0.0
    return numbers.mean().item(), error


def mean_over_seats(results: Sequence[Tensor]) -> Tensor:
    """Returns means (N,) over the seats of what seat p earns in results[p], which are payoffs (N, P).

    Game n has the same seed in all results, so what the seats earn in it is not independent. The standard error of the
    mean is therefore that of these N numbers, not a combination of the standard errors of the seats.
    """
    return torch.stack([payoffs[:, seat] for seat, payoffs in enumerate(results)]).mean(0)


def play_against_initial(
    initial: Profile, profile: Profile, payoffs: Tensor, play: Callable[[Sequence[Lineup]], list[Tensor]]
) -> Metrics:
    """Returns the mean return of each policy when the other seats are played by the initial policies.

    This is for games in which the payoffs of the seats have a constant sum, so that the mean return of a profile
    against itself is constant. For other games the result is empty. `payoffs` (N, P) are those of the profile against
    itself.
    """
    if len(profile) < 2 or not sums_are_constant(payoffs.double(), ROUNDING):
        return {}
    results = play(list(map(Lineup, deviations(profile, initial))))
    games = torch.cat([payoffs, *results])
    if not are_opposed(games.double(), ROUNDING):  # equal payoffs: a team that has not earned anything yet
        return {}
    return summarise_pairs(INITIAL, mean_over_seats(results))
