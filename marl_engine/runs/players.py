"""The players that runs leave: load them, evaluate them, let them play each other.

ours, theirs = load_player("runs/ours"), load_player("runs/theirs")
print(ours.evaluate())
print(cross_play([ours, theirs]))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from marl_engine.errors import Refused
from marl_engine.evaluation.evaluator import evaluate
from marl_engine.evaluation.returns import Seating, mean_and_error, play_whole_games
from marl_engine.evaluation.win_rate import complete_held_out, held_out, measure_win_rate
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.policies.tabular import extract_strategy
from marl_engine.policies.weights import load_profile_state
from marl_engine.responders.preference.referee import Referee
from marl_engine.runners.local import LocalRunner
from marl_engine.runs.factory import build, kept_config
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.saved_weights import read_best
from marl_engine.types import Game, Metrics, Profile, is_preference_game


@dataclass
class Player:
    """The policies of a run, with the game that they were trained in."""

    name: str  # the run's folder
    profile: Profile
    game: Game
    config: dict[str, Any]
    reference: Profile  # as it was at first
    iteration: int  # of its checkpoint

    def evaluate(self, episodes: int = 128) -> Metrics:
        """The scores that a run's summary has, of so many games, or answers to prompts held out."""
        if is_preference_game(self.game):
            device = self.config["device"]
            others = complete_held_out(self.game, self.reference[0], episodes, device, who=1)
            return measure_win_rate(self.game, self.profile, self.reference, others, episodes, device)[0]
        return evaluate(self.game, self.profile, LocalRunner(), episodes=episodes, full=True, initial=self.reference)


def load_player(folder: str | Path) -> Player:
    """The player of a run's best checkpoint, or of its newest where that one is gone. Raises Refused for no run."""
    path = Path(folder)
    try:
        config = RunFolder(path).config()
        iteration, state = read_best(path)
    except FileNotFoundError as error:
        raise Refused(f"{folder} is not the folder of a run that has been saved: {error}") from error
    parts = build(kept_config(RunFolder(path)))
    load_profile_state(parts.profile, state["profile"])
    return Player(str(folder), parts.profile, parts.game, config, parts.reference, iteration)


class CrossPlay(NamedTuple):
    """What N players earn against each other: row i in one seat, column j in all others, as a mean over the seats.

    In a game of prompts, how often the answers of i are preferred to those of j.
    """

    names: list[str]
    mean: np.ndarray  # (N, N)
    stderr: np.ndarray  # (N, N): 0 where the game is in sequence form, for it is not sampled then

    def __str__(self) -> str:
        width = max(map(len, self.names))
        rows = zip(self.names, self.mean, self.stderr, strict=True)
        return "\n".join(
            f"{name:<{width}}  " + "  ".join(f"{one:10.4g} ±{error:8.2g}" for one, error in zip(*numbers, strict=True))
            for name, *numbers in rows
        )


def cross_play(players: Sequence[Player], episodes: int = 128) -> CrossPlay:
    """Everybody against everybody, on `episodes` games for each seat. Raises Refused for players of different games."""
    first = players[0]
    for each in players:
        if each.config["game"] != first.config["game"]:
            raise Refused(f"{each.name} plays another game than {first.name}: {each.config['game']}")
    if is_preference_game(first.game):
        pairs = compare_answers(players, episodes)
    else:
        meet = meet_exactly if hasattr(first.game, "form") else meet_in_games
        pairs = [[meet(row, column, episodes) for column in players] for row in players]
    mean, stderr = np.moveaxis(np.array(pairs), -1, 0)
    return CrossPlay([each.name for each in players], mean, stderr)


def lineups(row: Player, column: Player) -> list[Profile]:
    """The row's policy in one seat after the other, and the column's in the others."""
    seats = range(len(row.profile))
    return [[*column.profile[:seat], row.profile[seat], *column.profile[seat + 1 :]] for seat in seats]


def meet_in_games(row: Player, column: Player, episodes: int) -> tuple[float, float]:
    """What the row earns on average, and the standard error, by playing."""
    earned = [play_whole_games(Seating("", each), row.game, episodes) for each in lineups(row, column)]
    return mean_and_error(torch.stack([each[:, seat] for seat, each in enumerate(earned)]).mean(0))


def meet_exactly(row: Player, column: Player, episodes: int) -> tuple[float, float]:
    """What the row earns on average, from the sequence form of the game."""
    game: Any = row.game
    plans = [realization_plan(game.form, extract_strategy(game, each)) for each in lineups(row, column)]
    return float(np.mean([expected_payoffs(game.form, plan)[seat] for seat, plan in enumerate(plans)])), 0.0


def compare_answers(players: Sequence[Player], episodes: int) -> list[list[tuple[float, float]]]:
    """How often the judge of the first player's game prefers each one's answers to each other's, with the error."""
    game: Any = players[0].game
    numbers, referee = held_out(game, episodes), Referee(game, False, torch.Generator())
    written = [
        [
            complete_held_out(game, each.profile[0], episodes, each.config["device"], who=2 * place + turn)
            for turn in (0, 1)
        ]
        for place, each in enumerate(players)
    ]
    texts = [[[text for batch in batches for text in batch.texts] for batches in both] for both in written]
    return [[mean_and_error(referee.ask(numbers, one[0], other[1]).double()) for other in texts] for one in texts]
