"""Every preset in configs/ satisfies the contract of its kind."""

import pytest
from contracts import (
    NOT_HERE,
    asks,
    check_beginning_anew,
    check_going_on,
    check_learning,
    check_policy,
    check_reopenings,
    check_saving,
    check_solver,
    check_words,
    check_writer,
    in_words,
    learn_with,
    parts,
    presets,
)

from marl_engine.policies.language.generation import LanguagePolicy
from marl_engine.rollout.game_contract import CHECKS

REFUSED = (
    "goes with (an ExactResponder|responder|policy)|needs a responder that supports|is not differentiable"
    "|is not a preference game|does not compare trajectories|makes no critics|needs language policies"
    "|there is no key responder"
)


@pytest.mark.parametrize("check", [*CHECKS, check_reopenings])
@pytest.mark.parametrize("name", [name for name in presets("game") if not in_words(name)])
def test_game(name, check):
    check(parts(game=name).game)


@pytest.mark.parametrize("name", [name for name in presets("game") if in_words(name) and name not in NOT_HERE])
def test_game_in_words(name):
    check_words(parts(game=name).game)


@pytest.mark.parametrize("name", presets("policy"))
def test_policy(name):
    components, other = parts(policy=name), parts(policy=name)
    if hasattr(components.game, "step"):
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


@pytest.mark.parametrize(
    ("name", "responder"), [(name, each) for name in presets("solver") for each in asks(name) or presets("responder")]
)
def test_solver(name, responder):
    check_solver(parts(solver=name, responder=responder))
    check_going_on(lambda: parts(solver=name, responder=responder))


@pytest.mark.parametrize("name", [name for name in presets("solver") if asks(name) is not None])
def test_a_responder_that_a_solver_does_not_go_with_is_refused(name):
    """Gradient ascent supports no regularisation; other solvers get an exact responder."""
    wrong = "exact" if "ascent" in asks(name) else "ascent"
    with pytest.raises(ValueError, match=REFUSED):
        check_solver(parts(solver=name, responder=wrong, game="kuhn_poker", policy="table"))


@pytest.mark.parametrize("name", presets("solver"))
def test_a_solver_begins_anew(name):
    if name != "self_play":  # whose responder goes on learning
        check_beginning_anew(parts(solver=name))


@pytest.mark.parametrize("name", presets("runner"))
def test_runner_keeps_the_order(name):
    assert parts(runner=name).runner.map(lambda number: number * number, range(5)) == [0, 1, 4, 9, 16]
