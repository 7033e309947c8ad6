"""The strategies of a profile as people read them: with the game's own names, and what each player gains by deviating.

Of games in sequence form. Small ones are shown; those of up to `SAVED` actions go into a file.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from marl_engine.capabilities import ExtensiveGame
from marl_engine.evaluation.report import Artefact
from marl_engine.extensive_form.sequence_form import counterfactual_reach, expected_payoffs, gains, realization_plan
from marl_engine.policies.strategy import extract_strategy
from marl_engine.types import Profile

SHOWN_SETS = 50  # information sets of all players together that are shown
SHOWN_ACTIONS = 8  # of an information set
SHOWN_LETTERS = 40  # of a name
FILE = "strategy.json"
SAVED = 200_000  # actions of all information sets together


class Strategies(NamedTuple):
    """The strategies of P players in I information sets, numbered as in the game's form."""

    players: list[dict[str, float]]  # (P,) return, and gain: what a best response would add to it
    information_sets: list[
        dict[str, Any]
    ]  # (I,) player, name, reach: how probable it is, actions: names, strategy: their chances


def read_strategies(game: ExtensiveGame, profile: Profile) -> Strategies | None:
    """The strategies of a profile; None where they have more than `SAVED` actions."""
    form = game.form
    if form.sequences > SAVED:
        return None
    strategy = extract_strategy(game, profile)
    plan = realization_plan(form, strategy)
    earned, more = expected_payoffs(form, plan), gains(form, plan)
    probable = plan[form.parent] * counterfactual_reach(form, strategy, plan)[form.first[:-1]]
    owner = np.repeat(np.arange(form.players), np.diff(form.begin)).tolist()
    sets = [
        {"player": player, "name": name, "reach": float(reach), "actions": actions, "strategy": chances.tolist()}
        for player, (name, actions), reach, chances in zip(
            owner, game.information_sets(), probable, np.split(strategy, form.first[:-1])[1:], strict=True
        )
    ]
    players = [{"return": float(one), "gain": float(gain)} for one, gain in zip(earned, more, strict=True)]
    return Strategies(players, sets)


def lines_of(strategies: Strategies) -> list[str]:
    """What a screen shows: each player, and its information sets where there are few of all players together."""
    lines, few = [], len(strategies.information_sets) <= SHOWN_SETS
    for player, numbers in enumerate(strategies.players):
        lines.append(f"player {player} earns {numbers['return']:.4f}; a best response gains {numbers['gain']:.2g}")
        own = [each for each in strategies.information_sets if each["player"] == player] if few else []
        names = [shorten(each["name"]) for each in own]
        width = 2 + max(map(len, names), default=0) if any(names) else 0
        lines += [f"  {name:<{width}}{choices_of(each)}" for name, each in zip(names, own, strict=True)]
    return lines


def choices_of(information_set: dict[str, Any]) -> str:
    """The actions of an information set with their chances; of many the most probable."""
    actions, chances = information_set["actions"], information_set["strategy"]
    order = list(range(len(actions)))
    if len(actions) > SHOWN_ACTIONS:
        order = sorted(sorted(order, key=lambda place: -chances[place])[:SHOWN_ACTIONS])
    shown = "   ".join(f"{shorten(actions[place])} {chances[place]:.3f}" for place in order)
    rest = 1 - sum(chances[place] for place in order)
    return shown if len(order) == len(actions) else f"{shown}   {len(actions) - len(order)} others {max(rest, 0):.3f}"


def shorten(name: str) -> str:
    """A name on one line, its middle left out where it is long."""
    line = " ".join(name.split())
    half = SHOWN_LETTERS // 2
    return line if len(line) <= SHOWN_LETTERS else f"{line[: half - 1]}…{line[-half:]}"


def save_strategies(game: ExtensiveGame, profile: Profile, iteration: int | None) -> Artefact:
    """The strategies of a profile and what deviating from them gains, as JSON and as a screen shows them."""
    strategies = read_strategies(game, profile)
    if strategies is None:
        return Artefact(FILE, "play", None, [f"there is no {FILE}: the strategies have more than {SAVED:,} actions"])
    rows = {name: ",\n  ".join(map(json.dumps, each)) for name, each in strategies._asdict().items()}
    lists = ",\n".join(f' "{name}": [\n  {row}\n ]' for name, row in rows.items())
    text = f'{{\n "iteration": {json.dumps(iteration)},\n{lists}\n}}\n'
    return Artefact(FILE, "play", text, lines_of(strategies))
