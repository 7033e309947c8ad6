"""The entrants of a tournament: what plays in their seats, and those that are no trained runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from games.rllib.export import import_rllib
from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Refused, choice
from marl_engine.policies.weights import digest_weights
from marl_engine.runs.initial import RLLIB
from marl_engine.runs.play_records import PERSON
from marl_engine.tournaments.answers import REFERENCE, is_adapter, judges_texts, load_adapter, load_reference
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
    def slow(self) -> bool:
        """Whether its games take long: those of bots and language policies."""
        return self.bot is not None or any(policy.generates for policy in self.profile)

    @property
    def has_policies(self) -> bool:
        """Whether it is played by its policies."""
        return self.bot is None and not self.games


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
    if word.startswith(RLLIB):
        return make_rllib_entrant(word, game)
    if judges_texts(game):
        return make_language_entrant(word, game, partners)
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
        f"{PERSON}NAME, {RLLIB}PATH or runs/NAME"
    )


def make_rllib_entrant(word: str, game: Any) -> Entrant:
    """Returns the entrant of a checkpoint of RLlib. Raises Refused."""
    path = word.removeprefix(RLLIB)
    profile = import_rllib("checkpoints", word).load_checkpoint(path, game)
    return make_entrant(word, f"checkpoint of RLlib at {path}", RLLIB, profile)


def make_language_entrant(word: str, game: Any, partners: Sequence[Partner]) -> Entrant:
    """Returns the policy before training, or an adapter on the model of the first run. Raises Refused."""
    if word != REFERENCE and not is_adapter(Path(word)):
        raise Refused(
            f"there is no entrant {word!r}; in a game of answers choose from {choice(word, [REFERENCE])}, or write "
            "runs/NAME, or the folder of an adapter"
        )
    if not partners:
        raise Refused(f"{word} needs a run beside it, whose model it has")
    run = partners[0].folder
    if word == REFERENCE:
        return make_entrant(word, f"{run} before training", word, load_reference(run))
    return make_entrant(
        Path(word).name, f"adapter {word} on the model of {run}", word, load_adapter(Path(word), run, game)
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
