"""The entrants of a tournament, from words of the command line, and the game that they play.

runs/NAME               a run, with its best checkpoint; a folder of runs stands for all of them
runs/NAME@last          the newest checkpoint; @120 is that of iteration 120
runs/NAME@population    the members of a population, such as that of PSRO, each an entrant
random                  any legal action
greedy                  the action with the largest immediate reward; it sees the state of the game
mcts_50, look_ahead     bots of the game
rock                    an action of a game in normal form
module:function         a Python function; see `baselines.FunctionPolicy`
human:NAME              a person who has played with the runs; see `people`
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from marl_engine.capabilities import capabilities_of, missing_members
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused, choice
from marl_engine.policies.weights import copy_with_weights, digest_weights, load_profile_state
from marl_engine.runs.factory import local_config, make_profile
from marl_engine.runs.folder import RunFolder, nearby_runs
from marl_engine.runs.play_records import PERSON
from marl_engine.runs.saved_weights import read_best, read_checkpoint
from marl_engine.tournaments.baselines import (
    Bot,
    FunctionPolicy,
    RandomPolicy,
    check_greedy,
    digest_source,
    import_function,
    make_pure,
    play_greedily,
    shared_actions,
)
from marl_engine.tournaments.people import Partner, RecordedGame, games_of
from marl_engine.types import Game, Profile, Turn

RANDOM, GREEDY = "random", "greedy"
BEST, LAST, POPULATION = "best", "last", "population"


@dataclass(frozen=True, eq=False)
class Entrant:
    """A player in a tournament: policies of all seats, a bot, or the recorded games of a person."""

    name: str
    origin: str  # where it comes from, for readers of the report
    digest: str  # equal only for entrants that play alike; identifies it among stored matches
    profile: Profile  # a policy for each seat; those of bots and people are not played
    bot: Bot | None = None
    games: tuple[RecordedGame, ...] = ()  # of a person, who plays no others

    @property
    def has_policies(self) -> bool:
        """Whether it is played by its policies."""
        return self.bot is None and not self.games


class Field(NamedTuple):
    """The entrants of a tournament, and their game."""

    game: Game
    section: Mapping[str, Any]  # of the configuration, which describes the game
    entrants: list[Entrant]


class RunEntry(NamedTuple):
    """A run that enters, with one of its checkpoints."""

    path: Path
    checkpoint: str
    name: str


class LoadedRun(NamedTuple):
    """The entrants of a run, and what is needed to find its games with people; None for a population."""

    entrants: list[Entrant]
    partner: Partner | None = None


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
    for path, config in configs.items():
        check_same_game(config["game"], chosen, path, first if section is None else None)
    local = local_config(RunFolder(first))["game"] if section is None and first is not None else chosen
    game = instantiate("game", local, device="cpu")
    check_game(game)
    loaded = {entry: load_run(named, configs[entry.path], game) for entry, named in runs.items()}
    partners = [each.partner for each in loaded.values() if each.partner is not None]
    several = [
        [entrant for entry in each for entrant in loaded[entry].entrants] or [make_other(word, game, partners)]
        for word, each in entries.items()
    ]
    entrants = list(dict.fromkeys(chain.from_iterable(several)))
    check_names([each.name for each in entrants])
    if len(entrants) < 2:
        raise Refused(f"a tournament has two entrants or more, not {len(entrants)}; add one, such as random")
    return Field(game, chosen, entrants)


def list_runs(word: str) -> list[RunEntry]:
    """Returns the runs that a word names; none if it names something else. Raises Refused for a path without runs."""
    text, _, checkpoint = word.rpartition("@") if not Path(word).exists() and "@" in word else (word, "", "")
    folder = Path(text)
    if not folder.is_dir():
        if "/" in text and ":" not in text:
            raise Refused(f"there is no run at {text!r}{nearby_runs(folder)}")
        return []
    inside = [folder] if (folder / "config.yaml").is_file() else sorted(f.parent for f in folder.rglob("config.yaml"))
    if not inside:
        raise Refused(f"there is no run in {text}")
    return [RunEntry(path, checkpoint or BEST, "") for path in inside]


def name_runs(entries: Sequence[RunEntry]) -> dict[RunEntry, RunEntry]:
    """Returns the runs with different names: those of their folders, or their whole paths."""
    short = {entry: entry.path.resolve().name for entry in entries}
    paths: dict[str, set[Path]] = {}
    for entry, name in short.items():
        paths.setdefault(name, set()).add(entry.path.resolve())
    named = {}
    for entry, name in short.items():
        text = name if len(paths[name]) == 1 else str(entry.path)
        named[entry] = entry._replace(name=text if entry.checkpoint == BEST else f"{text}@{entry.checkpoint}")
    return named


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


def check_names(names: Sequence[str]) -> None:
    """Raises Refused if two entrants have the same name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"two entrants are called {twice}; rename the folder of one of them")


def check_game(game: Any) -> None:
    """Raises Refused unless a game is stepped and has several seats."""
    missing = missing_members(game, Game)
    if missing:
        raise Refused(
            f"{type(game).__name__} is not a game that is stepped, so it has no matches; compare its runs by "
            "marl_engine.runs.cross_play"
        )
    if game.players < 2:
        raise Refused(f"{type(game).__name__} has one seat, so nobody meets anybody; compare its runs by marl-plot")


def load_run(entry: RunEntry, config: Mapping[str, Any], game: Game) -> LoadedRun:
    """Returns the entrants of a run: one, or the members of its population. Raises Refused."""
    profile = make_profile(instantiate("policy", config["policy"]), game)
    kind = json.dumps(config["policy"], sort_keys=True)
    iteration, state = read_state(entry)
    origin = f"{entry.path}, iteration {iteration}"
    if entry.checkpoint == POPULATION:
        return LoadedRun(load_population(entry, profile, state, kind, origin))
    try:
        load_profile_state(profile, state["profile"])
    except ValueError as error:
        raise Refused(f"{entry.path} cannot enter: {error}") from error
    entrant = make_entrant(entry.name, origin, kind, profile)
    return LoadedRun([entrant], Partner(entry.path, iteration, entrant.digest))


def read_state(entry: RunEntry) -> tuple[int, dict[str, Any]]:
    """Returns iteration and state of the checkpoint of a run; the newest one for its population. Raises Refused."""
    if entry.checkpoint != BEST:
        name = LAST if entry.checkpoint == POPULATION else entry.checkpoint
        return read_checkpoint(RunFolder(entry.path), name)
    try:
        return read_best(entry.path)
    except FileNotFoundError as error:
        raise Refused(f"{entry.path} has not saved anything yet: {error}") from error


def load_population(
    entry: RunEntry, profile: Profile, state: Mapping[str, Any], kind: str, origin: str
) -> list[Entrant]:
    """Returns the members of the population in a checkpoint; member k consists of the k-th policy of every seat.

    A seat with fewer members repeats its last one. Raises Refused if there is no population.
    """
    population = (state.get("solver") or {}).get("population")
    if not population:
        raise Refused(f"{entry.path} has no population; use a run of solver=psro, or leave out @{POPULATION}")
    members = population["members"]
    return [
        make_entrant(
            f"{entry.name.removesuffix(f'@{POPULATION}')}#{number}",
            f"{origin}, member {number} of its population",
            kind,
            [
                copy_with_weights(policy, each[min(number, len(each) - 1)])
                for policy, each in zip(profile, members, strict=True)
            ],
        )
        for number in range(max(map(len, members)))
    ]


def make_entrant(name: str, origin: str, kind: str, profile: Profile, bot: Bot | None = None) -> Entrant:
    """Returns an entrant, whose digest is that of `kind` and of its weights."""
    weights = [digest_weights(policy) for policy in dict.fromkeys(profile)]
    seats = [list(dict.fromkeys(profile)).index(policy) for policy in profile]
    digest = hashlib.blake2b(json.dumps([kind, weights, seats]).encode(), digest_size=16).hexdigest()
    return Entrant(name, origin, digest, [policy.eval().requires_grad_(False) for policy in profile], bot)


def make_other(word: str, game: Any, partners: Sequence[Partner]) -> Entrant:
    """Returns the entrant that a word names, other than a run. Raises Refused."""
    if word.startswith(PERSON):
        entrant = make_entrant(word, "person, by recorded games", word, stand_in(game))
        return replace(entrant, games=games_of(word, partners))
    bots, actions = bots_of(game), shared_actions(game)
    if word == RANDOM:
        return make_entrant(word, "any legal action", word, [RandomPolicy(game)] * game.players)
    if word == GREEDY:
        check_greedy(game)
        return make_entrant(word, "largest immediate reward", word, stand_in(game), play_greedily)
    if word in bots:
        return make_entrant(word, "bot of the game", f"bot {word}", stand_in(game), partial(ask_bot, word))
    if word in actions:
        return make_entrant(word, "action of the game", f"action {word}", make_pure(game, actions[word]))
    if ":" in word and "/" not in word:
        function = import_function(word)
        policy = FunctionPolicy(word, function, game)
        return make_entrant(word, "Python function", f"{word} {digest_source(function)}", [policy] * game.players)
    options = [RANDOM, GREEDY, *bots, *actions]
    raise Refused(
        f"there is no entrant {word!r}; choose from {choice(word, options)}, or write module:function, "
        f"{PERSON}NAME or runs/NAME"
    )


def bots_of(game: Any) -> tuple[str, ...]:
    """Returns the names of the bots of a game."""
    able = capabilities_of(game).bots
    return () if able is None else (*able.bots, *able.slow_bots)


def stand_in(game: Game) -> Profile:
    """Returns the profile of a bot, which is never asked."""
    return [RandomPolicy(game)] * game.players


def ask_bot(bot: str, game: Any, turn: Turn, noise: Tensor) -> Tensor:
    """Returns the actions (B, P) of a bot of a game; see `Bot`."""
    actions: Tensor = game.bot_actions(bot, noise)
    return actions
