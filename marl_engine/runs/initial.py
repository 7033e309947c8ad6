"""The policies that a run starts with, if they are not new. `init=` names a run, a part of it, or one of RLlib.

Policies of the kind that the run has get its weights. Tables take the strategy of a player of any kind.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marl_engine.capabilities import ExtensiveGame, capabilities_of
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.numerics.state import load_weights
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TablePolicy, fill_tables
from marl_engine.policies.weights import load_profile_state, profile_state, states_equal
from marl_engine.rollout.seating import group_by_policy
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.saved_weights import MEMBER, read_state, select_profile, split_address
from marl_engine.types import Game, Profile

RLLIB = "rllib:"  # before the path of a checkpoint


def warm_start(profile: Profile, game: Game, source: str, kind: str = "") -> None:
    """Gives a profile the weights, or tables the strategy, of a run or a checkpoint of RLlib.

    `kind` is the class that made the profile, as `config.yaml` names it. Raises Refused if they do not fit.
    """
    extensive = capabilities_of(game).extensive if all(isinstance(each, TablePolicy) for each in profile) else None
    if source.startswith(RLLIB):
        from games.rllib.export import import_rllib

        if extensive is None:
            raise Refused(
                f"init={source} has no weights of this engine's networks; take a run that RLlib trained here "
                "(solver=rllib), or let tables take the strategy of the checkpoint: policy=table in a game in "
                "extensive form, such as game=kuhn_poker"
            )
        player = import_rllib("checkpoints", f"init={source}").load_checkpoint(source.removeprefix(RLLIB), game)
        take_strategy(profile, extensive, player, source)
        return
    made_by = kind_of(split_address(source)[0])
    if extensive is not None and made_by is not None and made_by["_target_"] != kind:
        player = instantiate("policy", made_by).profile(game)
        weights = read_weights(player, source)
        try:
            load_profile_state(player, weights)
        except ValueError as error:
            raise Refused(f"init={source} does not fit: {error}; take a run of the same game") from error
        take_strategy(profile, extensive, player, source)
    else:
        take_weights(profile, read_weights(profile, source), source)


def take_strategy(profile: Profile, game: ExtensiveGame, player: Profile, source: str) -> None:
    """Fills tables with the strategy of a player. Raises Refused if its policies cannot be tabulated."""
    if not all(policy.tabular for policy in player):
        raise Refused(f"init={source} is not a function of the information set alone, as policy=table needs")
    fill_tables(profile, extract_strategy(game, player))


def read_weights(profile: Profile, source: str) -> dict[str, Any]:
    """Returns the weights of a run's best checkpoint, or of the part that an address names; see `saved_weights`.

    `profile` has policies of the run's kind, which stay as they are. Raises Refused.
    """
    path, part = split_address(source)
    try:
        _, state = read_state(path, part)
        if part.startswith(MEMBER):
            return profile_state(select_profile(profile, state, path, part))
    except FileNotFoundError as error:
        raise Refused(f"init={source} is not the folder of a run that has been saved: {error}") from error
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"init={source} does not fit: {error}; take a run of the same game and policy") from error
    weights: dict[str, Any] = state["profile"]
    return weights


def kind_of(path: Path) -> Mapping[str, Any] | None:
    """Returns the section of a run's configuration that its policies were made from; None for initial weights."""
    section: Mapping[str, Any] | None = RunFolder(path).config()["policy"] if (path / "config.yaml").is_file() else None
    return section


def take_weights(profile: Profile, saved: Mapping[str, Any], path: str) -> None:
    """Loads saved weights of each seat's policy. Raises Refused if they do not fit."""
    if len(saved["seats"]) != len(profile):
        raise Refused(f"init={path} has {len(saved['seats'])} seats, and this game {len(profile)}")
    for policy, seats in group_by_policy(profile):
        first, *others = dict.fromkeys(saved["seats"][seat] for seat in seats)
        weights = saved["policies"][first]
        if not all(states_equal(weights, saved["policies"][other]) for other in others):
            raise Refused(
                f"init={path} does not fit: seats {', '.join(map(str, seats))} share one policy here and have "
                "different ones there; use policy.shared=false"
            )
        try:
            load_weights(policy, weights, "policy")
        except ValueError as error:
            raise Refused(f"init={path} does not fit: {error}; take a run of the same game and policy") from error
