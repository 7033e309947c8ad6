"""Every preset in configs/ satisfies the contract of its kind."""

import math
from copy import deepcopy

import pytest
from contracts import (
    check_beginning_anew,
    check_going_on,
    check_learning,
    check_policy,
    check_reopenings,
    check_saving,
    check_words,
    check_writer,
    learn_with,
    parts,
    responders_of,
)
from settings import GAMES, SERVED, make_game, preset, presets

from marl_engine.capabilities import capabilities_of
from marl_engine.commands.command_line.preset_files import check_optional_presets
from marl_engine.configuration import instantiate
from marl_engine.policies.language.generation import LanguagePolicy
from marl_engine.rollout.game_contract import CHECKS


@pytest.mark.parametrize("name", [name for name in GAMES if name not in SERVED])
def test_game(name):
    game = make_game(name)
    for check in [check_words] if capabilities_of(game).spaces is None else [*CHECKS, check_reopenings]:
        check(deepcopy(game))


@pytest.mark.parametrize("name", presets("policy"))
def test_policy(name):
    components, other = parts(policy=name), parts(policy=name)
    if capabilities_of(components.game).spaces is not None:
        check_policy(components.profile[0], components.game)
        check_saving(components.profile[0], other.profile[0], components.game)
    if isinstance(components.profile[0], LanguagePolicy):
        check_writer(components.profile[0], other.profile[0], components.game)


@pytest.mark.parametrize("responder", ["ippo", "mappo"])
def test_what_is_learned_from_is_what_was_played(responder):
    differences = {name: learn_with(name, responder) for name in presets("policy")}
    assert {name for name, several in differences.items() if several} >= {"network", "squashed", "gru", "lstm", "cnn"}
    for each in (each for several in differences.values() for each in several):
        check_learning(each)


@pytest.mark.parametrize("name", presets("solver"))
def test_solver(name):
    for responder in responders_of(name):
        check_going_on(lambda each=responder: parts(solver=name, responder=each))


@pytest.mark.parametrize("name", presets("solver"))
def test_a_solver_begins_anew(name):
    if name != "self_play":  # whose responder goes on learning
        check_beginning_anew(parts(solver=name))


@pytest.mark.parametrize("name", sorted(set(presets("runner")) - {"ray"}))  # tests/ray starts Ray
def test_runner_keeps_the_order(name):
    runner = instantiate("runner", preset("runner", name)["runner"])
    assert runner.map(math.isqrt, range(5)) == [0, 1, 1, 1, 2]


def test_optional_presets_are_read():
    check_optional_presets()
