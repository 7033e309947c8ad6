"""Describes the strategies of a profile by the game's names of information sets and actions.

The game must have a sequence form. Small strategies are printed; those with up to `MAX_SAVED_ACTIONS` actions are saved
as JSON, with what each player could gain by deviating.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from marl_engine.capabilities import ExtensiveGame
from marl_engine.evaluation.report import Artefact
from marl_engine.extensive_form.sequence_form import counterfactual_reach, expected_payoffs, gains, realization_plan
from marl_engine.policies.strategy import extract_strategy
from marl_engine.types import Profile

MAX_SHOWN_SETS = 50  # of all players together
MAX_SHOWN_ACTIONS = 8  # in an information set
MAX_NAME_LENGTH = 40  # characters
FILE = "strategy.json"
MAX_SAVED_ACTIONS = 200_000  # in all information sets together


class Strategies(NamedTuple):
    """The strategies of P players in I information sets, numbered as in the sequence form.

    `players` has P entries with the keys `return` and `gain`, the gain of a best response. `information_sets` has I
    entries with the keys `player`, `name`, `reach` (the probability of the set), `actions` (names) and `strategy`
    (probabilities of the actions).
    """

    players: list[dict[str, float]]
    information_sets: list[dict[str, Any]]


def read_strategies(game: ExtensiveGame, profile: Profile) -> Strategies | None:
    """Returns the strategies of a profile; None if they have more than `MAX_SAVED_ACTIONS` actions."""
    form = game.form
    if form.sequences > MAX_SAVED_ACTIONS:
        return None
    strategy = extract_strategy(game, profile)
    plan = realization_plan(form, strategy)
    payoffs, gain = expected_payoffs(form, plan), gains(form, plan)
    reaches = plan[form.parent] * counterfactual_reach(form, strategy, plan)[form.first[:-1]]
    owner = np.repeat(np.arange(form.players), np.diff(form.begin)).tolist()
    sets = [
        {"player": player, "name": name, "reach": float(reach), "actions": actions, "strategy": chances.tolist()}
        for player, (name, actions), reach, chances in zip(
            owner, game.information_sets(), reaches, np.split(strategy, form.first[:-1])[1:], strict=True
        )
    ]
    players = [{"return": float(payoff), "gain": float(value)} for payoff, value in zip(payoffs, gain, strict=True)]
    return Strategies(players, sets)


def lines_of(strategies: Strategies) -> list[str]:
    """Returns lines for the screen: each player, and its information sets if there are few."""
    lines, few = [], len(strategies.information_sets) <= MAX_SHOWN_SETS
    for player, numbers in enumerate(strategies.players):
        lines.append(f"player {player} earns {numbers['return']:.4f}; a best response gains {numbers['gain']:.2g}")
        sets = [row for row in strategies.information_sets if row["player"] == player] if few else []
        names = [shorten(row["name"]) for row in sets]
        width = 2 + max(map(len, names), default=0) if any(names) else 0
        lines += [f"  {name:<{width}}{format_actions(row)}" for name, row in zip(names, sets, strict=True)]
    return lines


def format_actions(information_set: dict[str, Any]) -> str:
    """Formats the actions of an information set with their probabilities.

    If there are many, only the most probable are listed.
    """
    actions, chances = information_set["actions"], information_set["strategy"]
    order = list(range(len(actions)))
    if len(actions) > MAX_SHOWN_ACTIONS:
        order = sorted(sorted(order, key=lambda place: -chances[place])[:MAX_SHOWN_ACTIONS])
    text = "   ".join(f"{shorten(actions[place])} {chances[place]:.3f}" for place in order)
    if len(order) == len(actions):
        return text
    remainder = 1 - sum(chances[place] for place in order)
    return f"{text}   {len(actions) - len(order)} others {max(remainder, 0):.3f}"


def shorten(name: str) -> str:
    """Returns a name in one line, with its middle left out if it is long."""
    line = " ".join(name.split())
    half = MAX_NAME_LENGTH // 2
    return line if len(line) <= MAX_NAME_LENGTH else f"{line[: half - 1]}…{line[-half:]}"


def save_strategies(game: ExtensiveGame, profile: Profile, iteration: int | None) -> Artefact:
    """Returns the artefact with the strategies of a profile, as JSON and as lines for the screen."""
    strategies = read_strategies(game, profile)
    if strategies is None:
        return Artefact(
            FILE, "play", None, [f"there is no {FILE}: the strategies have more than {MAX_SAVED_ACTIONS:,} actions"]
        )
    rows = {name: ",\n  ".join(map(json.dumps, entries)) for name, entries in strategies._asdict().items()}
    lists = ",\n".join(f' "{name}": [\n  {row}\n ]' for name, row in rows.items())
    text = f'{{\n "iteration": {json.dumps(iteration)},\n{lists}\n}}\n'
    return Artefact(FILE, "play", text, lines_of(strategies))
