"""Players: the trained policies of runs, for evaluation and cross-play.

first, second = load_player("runs/first"), load_player("runs/second")
print(first.evaluate())
print(first.bound_exploitability(steps=1_000_000))  # for games in which it is not computed exactly
print(cross_play([first, second, load_player("runs/psro@member_3")]))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.evaluation import Evaluator, make_evaluator
from marl_engine.evaluation.best_response import LowerBound, bound_exploitability, choose_larger
from marl_engine.runners import LOCAL
from marl_engine.runs.factory import build, local_config, make_responder
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.inputs import game_files, read_inputs
from marl_engine.runs.saved_weights import read_state, select_profile, split_address
from marl_engine.types import Game, Metrics, Profile


@dataclass
class Player:
    """The policies of a run, and the game that they were trained in."""

    name: str  # the run's folder, or the address of a part of it
    profile: Profile
    game: Game
    config: dict[str, Any]
    local_config: dict[str, Any]  # with the paths of the run's own copies of input files
    reference: Profile  # the initial profile
    iteration: int  # of its checkpoint
    opponent: Profile | None = None  # that the solver set the learner

    @property
    def folder(self) -> Path:
        """Returns the run's folder."""
        return split_address(self.name)[0]

    def evaluate(self, episodes: int = 128) -> Metrics:
        """Returns the metrics of a run's summary, from `episodes` games or answers to held-out prompts."""
        return self.make_evaluator(episodes).evaluate(self.profile, full=True).metrics

    def bound_exploitability(self, steps: int, episodes: int = 1024, seed: int = 1) -> LowerBound:
        """Returns a lower bound of exploitability, from responses learned by the run's responder in `steps` steps.

        Half of the steps are spent on responses that begin with the weights of the run, half on those that begin as
        the run did.
        """
        half = -(-steps // 2)
        section = {key: rescale_schedule(value, half) for key, value in self.local_config["responder"].items()}
        spec = instantiate("policy", self.local_config["policy"])
        bounds = []
        for start in (self.profile, self.reference):
            responder = make_responder(section, self.game, spec, seed=seed, device=self.config["device"])
            bounds.append(bound_exploitability(responder, self.profile, half, episodes, start=start))
        return choose_larger(bounds)

    def make_evaluator(self, episodes: int) -> Evaluator:
        """Returns the evaluator of the player's game."""
        return make_evaluator(self.game, self.reference, LOCAL, episodes, self.config["device"], self.opponent)


def rescale_schedule(value: Any, steps: int) -> Any:
    """Returns the value of a key of a responder; schedules end after `steps` steps."""
    return {**value, "over": steps} if isinstance(value, Mapping) and "over" in value else value


def load_player(address: str | Path) -> Player:
    """Returns the player of a run's best checkpoint, or of the newest one if that is damaged.

    runs/NAME@last and runs/NAME@120 are other checkpoints, and runs/NAME@member_3 is a member of its population; see
    `saved_weights`. Raises Refused.
    """
    path, part = split_address(address)
    try:
        config = RunFolder(path).config()
        iteration, state = read_state(path, part)
    except FileNotFoundError as error:
        raise Refused(f"{path} is not the folder of a run that has been saved: {error}") from error
    local = local_config(RunFolder(path))
    parts = build(local)
    profile = select_profile(parts.profile, state, path, part)
    return Player(str(address), profile, parts.game, config, local, parts.reference, iteration, parts.opponent)


class CrossPlay(NamedTuple):
    """Payoffs of N players against each other: row i in one seat, column j in all others, as a mean over seats.

    In a game with prompts: how often the answers of i are preferred to those of j.
    """

    names: list[str]
    mean: np.ndarray  # (N, N)
    stderr: np.ndarray  # (N, N): 0 for games in sequence form, which are not sampled

    def __str__(self) -> str:
        width = max(map(len, self.names))
        rows = zip(self.names, self.mean, self.stderr, strict=True)
        return "\n".join(
            f"{name:<{width}}  " + "  ".join(f"{mean:10.4g} ±{error:8.2g}" for mean, error in zip(*cells, strict=True))
            for name, *cells in rows
        )


def cross_play(players: Sequence[Player], episodes: int = 128) -> CrossPlay:
    """Plays all pairs of players, `episodes` games for each seat. Raises Refused if their games differ."""
    first = players[0]
    files = game_files(read_inputs(first.folder))
    for player in players:
        if player.config["game"] != first.config["game"]:
            raise Refused(f"{player.name} plays another game than {first.name}: {player.config['game']}")
        if (own := game_files(read_inputs(player.folder))) != files:
            keys = ", ".join(key for key, _ in own)
            raise Refused(f"{player.name} plays another game than {first.name}: {keys} had other content")
    pairs = first.make_evaluator(episodes).compare([player.profile for player in players])
    mean, stderr = np.moveaxis(np.array(pairs), -1, 0)
    return CrossPlay([player.name for player in players], mean, stderr)
