"""The field of a tournament: its entrants, from words of the command line, and the game that they play.

runs/NAME               a run, with its best checkpoint; a folder of runs stands for all of them
runs/NAME@last          the newest checkpoint; @120 is that of iteration 120
runs/NAME@population    the members of a population, such as that of PSRO, each an entrant
runs/NAME@member_3      one of them
random                  any legal action
greedy                  the action with the largest immediate reward; it sees the state of the game
mcts_50, look_ahead     bots of the game
rock                    an action of a game in normal form
module:function         a Python function; see `baselines.FunctionPolicy`
rllib:PATH              a checkpoint of RLlib; see `games.rllib.checkpoints`
human:NAME              a person who has played with the runs; see `people`
reference               in a game of answers, the policy of the first run before training
ADAPTER                 in a game of answers, the folder of an adapter that peft saved, on the model of the first run
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from marl_engine.capabilities import missing_members
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.runs.factory import local_config
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.inputs import game_files, list_inputs, read_inputs
from marl_engine.tournaments.answers import judges_texts
from marl_engine.tournaments.entrants import Entrant, make_other
from marl_engine.tournaments.trained import list_runs, load_run, name_runs
from marl_engine.types import Game


class Field(NamedTuple):
    """The entrants of a tournament, and their game."""

    game: Game
    section: Mapping[str, Any]  # of the configuration, which describes the game
    entrants: list[Entrant]


def enter(words: Sequence[str], section: Mapping[str, Any] | None = None) -> Field:
    """Returns the entrants that words describe, and their game: that of `section`, or else that of the runs.

    Raises Refused for an unknown word, and if not all entrants can play the game.
    """
    entries = {word: list_runs(word) for word in dict.fromkeys(words)}
    runs = name_runs([entry for each in entries.values() for entry in each])
    configs = {entry.path: RunFolder(entry.path).config() for entry in runs.values()}
    if section is None and not configs:
        raise Refused("say which game, like game=kuhn_poker, or name a run")
    first = next(iter(configs), None)
    chosen = configs[first]["game"] if section is None and first is not None else section
    assert chosen is not None
    origin = first if section is None else None
    files = game_files(list_inputs({"game": chosen}) if origin is None else read_inputs(origin))
    for path, config in configs.items():
        check_same_game(config["game"], chosen, path, origin)
        check_same_files(game_files(read_inputs(path)), files, path, origin)
    local = local_config(RunFolder(first))["game"] if section is None and first is not None else chosen
    game = instantiate("game", local, device="cpu")
    check_game(game)
    loaded = {entry: load_run(named, configs[entry.path], game) for entry, named in runs.items()}
    partners = [each.partner for each in loaded.values() if each.partner is not None]
    several = [
        [entrant for entry in each for entrant in loaded[entry].entrants] or [make_other(word, game, partners)]
        for word, each in entries.items()
    ]
    entrants = list({(each.name, each.digest): each for each in chain.from_iterable(several)}.values())
    check_names([each.name for each in entrants])
    if len(entrants) < 2:
        raise Refused(f"a tournament has two entrants or more, not {len(entrants)}; add one, such as random")
    return Field(game, chosen, entrants)


def check_same_game(section: Mapping[str, Any], chosen: Mapping[str, Any], path: Path, first: Path | None) -> None:
    """Raises Refused if the game of a run is not the chosen one, which is that of the first run or of the command."""
    different = [key for key in {**section, **chosen} if section.get(key) != chosen.get(key)]
    if different:
        key = different[0]
        other = "the command" if first is None else str(first)
        raise Refused(
            f"all entrants must play one game, but {path} has game.{key}={section.get(key)} and {other} "
            f"{chosen.get(key)}; leave one of them out"
        )


def check_same_files(
    files: Sequence[tuple[str, str]], chosen: Sequence[tuple[str, str]], path: Path, first: Path | None
) -> None:
    """Raises Refused if a run's game was made of other files than the chosen one, although their names are the same.

    Both are those of `game_files`.
    """
    if files != chosen:
        keys, other = ", ".join(key for key, _ in files), "now" if first is None else f"for {first}"
        raise Refused(
            f"all entrants must play one game, but {keys} had other content for {path} than {other}; leave one of them "
            "out"
        )


def check_names(names: Sequence[str]) -> None:
    """Raises Refused if two entrants have the same name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"two entrants are called {twice}; rename the folder of one of them")


def check_game(game: Any) -> None:
    """Raises Refused unless a game is stepped or compares answers, and has several seats."""
    if not judges_texts(game) and missing_members(game, Game):
        raise Refused(
            f"{type(game).__name__} is not a game that is stepped, so it has no matches; compare its runs by "
            "marl_engine.runs.cross_play"
        )
    if game.players < 2:
        raise Refused(f"{type(game).__name__} has one seat, so nobody meets anybody; compare its runs by marl-plot")
