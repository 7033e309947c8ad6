"""Games in sequence form have OpenSpiel's values, best responses and NashConv."""

import re

import numpy as np
import pyspiel
import pytest
import torch
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms import expected_game_score

from games.openspiel.game import OpenSpiel
from games.openspiel.load import load_sequential
from marl_engine.extensive_form.regularised import dilated_gap, duality_gap
from marl_engine.extensive_form.sequence_form import (
    backup_action_values,
    behavior_strategy,
    compute_gradient,
    counterfactual_reach,
    expected_payoffs,
    gains,
    nash_conv,
    realization_plan,
    uniform_strategy,
)

GAMES = [
    "kuhn_poker",
    "kuhn_poker(players=3)",
    "leduc_poker",
    "liars_dice(numdice=1,dice_sides=4)",
    "goofspiel(imp_info=True,num_cards=3,points_order=descending)",
    "tiny_hanabi",
    "tiny_bridge_2p",
    "first_sealed_auction(max_value=4)",
    "trade_comm(num_items=3)",
    "battleship(board_width=2,board_height=2,ship_sizes=[1],ship_values=[1],num_shots=2,allow_repeated_shots=False)",
    "matching_pennies_3p",
    "coordinated_mp",
    "dark_hex(board_size=2,gameversion=adh)",
    "oshi_zumo(coins=6,size=1,horizon=8,min_bid=1)",
    "bargaining(max_turns=2,max_num_instances=10)",
    "sheriff(num_rounds=3)",
    "leduc_poker(suit_isomorphism=True)",
]


def draw_strategy(form, seed=0):
    """Returns a random strategy (S,)."""
    weight = np.random.default_rng(seed).exponential(size=form.sequences)
    weight[: form.players] = 1
    for start, stop in zip(form.first[:-1], form.first[1:], strict=True):
        weight[start:stop] /= weight[start:stop].sum()
    return weight


@pytest.mark.parametrize("name", GAMES)
def test_nash_conv_and_values_are_openspiels(name):
    game = OpenSpiel(name)
    for seed in (0, 1):
        strategy = draw_strategy(game.form, seed)
        reference = pyspiel.TabularPolicy(game.tabular(strategy))
        plan = realization_plan(game.form, strategy)
        assert nash_conv(game.form, plan) == pytest.approx(
            pyspiel.nash_conv(load_sequential(name), reference), abs=1e-9
        )
        value = pyspiel.expected_returns(load_sequential(name).new_initial_state(), reference, -1, False)
        assert expected_payoffs(game.form, plan) == pytest.approx(value, abs=1e-9)


def test_tables_go_to_openspiel_and_back():
    game = OpenSpiel("leduc_poker")
    strategy = draw_strategy(game.form)
    python = spiel_policy.TabularPolicy(load_sequential("leduc_poker"))
    for name, chances in game.tabular(strategy).items():
        row = python.policy_for_key(name)
        row[:] = 0
        for action, chance in chances:
            row[action] = chance
    value = expected_game_score.policy_value(load_sequential("leduc_poker").new_initial_state(), [python, python])
    assert expected_payoffs(game.form, realization_plan(game.form, strategy)) == pytest.approx(value, abs=1e-9)
    back = {name: dict(enumerate(python.policy_for_key(name))) for name in game.tabular(strategy)}
    assert np.array_equal(game.strategy(back), strategy)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ({"0": {5: 1.0}}, "the policy at '0' has the illegal action 5; choose from [0, 1]"),
        ({"0": {-1: 0.5, 0: 0.5}}, "the policy at '0' has the illegal action -1; choose from [0, 1]"),
        ({"0": {"bet": 1.0}}, "the policy at '0' has the illegal action 'bet'; choose from [0, 1]"),
        ({"0": [(0, 0.5), (7, float("nan"))]}, "the policy at '0' has the illegal action 7; choose from [0, 1]"),
        ({"0": [(0, 0.3), (0, 1.0)]}, "the policy at '0' has an action twice; choose from [0, 1]"),
        ({"0": {0: 0.7, 1: 0.7}}, "the policy at '0', of actions [0, 1], must be chances that add up to 1, not to 1.4"),
        ({"0": {0: 1.5, 1: -0.5}}, "the policy at '0', of actions [0, 1], must be chances of 0 or more, not -0.5"),
        ({"0": {0: float("nan"), 1: 1.0}}, "the policy at '0', of actions [0, 1], must be finite numbers"),
        ({"0": {}}, "the policy at '0', of actions [0, 1], must be chances that add up to 1, not to 0"),
        ({"0": [0.5, 0.5]}, "the policy at '0' must be {action: chance} or pairs of them, not [0.5, 0.5]"),
        ({"0": None}, "the policy at '0' must be {action: chance} or pairs of them, not None"),
        ({"0": {0: 1.0}, "0q": {0: 1.0}}, "kuhn_poker has no information set '0q'; choose from '0"),
        ({0: {0: 1.0}}, "kuhn_poker has no information set 0; choose from '0"),
    ],
)
def test_invalid_policies_are_refused(policy, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        OpenSpiel("kuhn_poker").strategy(policy)


@pytest.mark.parametrize(
    ("chances", "sentence"),
    [
        ([0.0, 0.0], "in each information set; in number 3 they are [0.0, 0.0]"),
        ([0.8, 0.8], "in each information set; in number 3 they are [0.8, 0.8]"),
        ([1.5, -0.5], "in each information set; in number 3 they are [1.5, -0.5]"),
    ],
)
def test_a_strategy_that_is_none_gets_no_score(chances, sentence):
    """Zeros would have a NashConv of 0."""
    form = OpenSpiel("kuhn_poker").form
    strategy = uniform_strategy(form)
    strategy[form.first[3] : form.first[4]] = chances
    with pytest.raises(ValueError, match=re.escape(sentence)):
        realization_plan(form, strategy)


@pytest.mark.parametrize("measure", [realization_plan, behavior_strategy, expected_payoffs, gains, nash_conv])
def test_numbers_of_another_game_are_refused(measure):
    first, second = (OpenSpiel(name).form for name in ("kuhn_poker", "kuhn_poker(players=3)"))
    with pytest.raises(ValueError, match=re.escape("this game has 26 sequences, so one number for each, not (99,)")):
        measure(first, uniform_strategy(second))


def test_a_state_of_another_game_is_refused():
    """A chance node, a history that does not exist, and arrays of different shapes."""
    game, zeros = OpenSpiel("kuhn_poker"), torch.zeros(2, dtype=torch.int64)
    for at in (0, -1, 58):
        with pytest.raises(ValueError, match="the saved state is of another game than kuhn_poker"):
            game.restore({"at": zeros + at, "drawn": zeros, "seeds": zeros})
    with pytest.raises(ValueError, match="a state of kuhn_poker has one number for each copy"):
        game.restore({"at": zeros + 2, "drawn": zeros, "seeds": zeros[:1]})


@pytest.mark.parametrize("name", GAMES)
def test_plans_and_strategies_are_the_same_thing(name):
    form = OpenSpiel(name).form
    strategy = draw_strategy(form)
    assert behavior_strategy(form, realization_plan(form, strategy)) == pytest.approx(strategy, abs=1e-12)


@pytest.mark.parametrize("name", GAMES)
def test_values_of_the_root_are_payoffs(name):
    """As gradient times plan, and backed up from information set to information set."""
    form = OpenSpiel(name).form
    strategy = draw_strategy(form)
    plan = realization_plan(form, strategy)
    value = np.empty(form.sequences)
    compute_gradient(form, plan, value)
    backup_action_values(form, strategy, value)
    assert form.centre + value[: form.players] == pytest.approx(expected_payoffs(form, plan), abs=1e-12)
    assert (gains(form, plan) >= -1e-12).all()


@pytest.mark.parametrize("name", GAMES)
def test_counterfactual_reach_of_the_root_is_one(name):
    """And all actions of an information set equally, since they are not the others' choice."""
    form = OpenSpiel(name).form
    strategy = draw_strategy(form)
    reach = counterfactual_reach(form, strategy, realization_plan(form, strategy))
    assert reach[: form.players] == pytest.approx(np.ones(form.players), abs=1e-12)
    for start, stop in zip(form.first[:-1], form.first[1:], strict=True):
        assert reach[start:stop] == pytest.approx(np.full(stop - start, reach[start]), abs=1e-12)


def test_uniform_kuhn():
    form = OpenSpiel("kuhn_poker").form
    assert nash_conv(form, realization_plan(form, uniform_strategy(form))) == pytest.approx(11 / 12)


def test_play_is_the_tree():
    """The mean payoff of random play of Kuhn poker is within four standard errors of the exact one."""
    game = OpenSpiel("kuhn_poker")
    generator = torch.Generator().manual_seed(0)
    turn = game.reset(torch.arange(20_000))
    payoffs = torch.zeros(20_000, 2)
    over = torch.zeros(20_000, dtype=torch.bool)
    for _ in range(3):  # the longest game
        turn = game.step(torch.randint(2, (20_000, 2), generator=generator))
        payoffs += turn.reward * ~over[:, None]
        over |= turn.done
    assert over.all()
    exact = expected_payoffs(game.form, realization_plan(game.form, uniform_strategy(game.form)))
    error = payoffs.std(0) / 20_000**0.5
    assert (abs(payoffs.mean(0).numpy() - exact) < 4 * error.numpy()).all()


def test_illegal_action_is_refused_and_moves_nobody():
    game = OpenSpiel("leduc_poker")
    game.reset(torch.arange(4))
    before = game.state()
    with pytest.raises(ValueError, match=r"action 0 is illegal at .*; choose from \[1, 2\]"):
        game.step(torch.tensor([[1, 1], [1, 1], [0, 1], [1, 1]]))
    assert all(torch.equal(before[name], each) for name, each in game.state().items())


def deviation_gains(form, strategy):
    """Returns the gain of the best pure deviation in each information set (I,), the rest of the profile unchanged."""
    payoffs, result = expected_payoffs(form, realization_plan(form, strategy)), []
    for infoset, owner in enumerate(np.repeat(np.arange(form.players), np.diff(form.begin))):
        begin, end = form.first[infoset : infoset + 2].astype(int)
        deviations = np.repeat(strategy[None], end - begin, axis=0)
        deviations[:, begin:end] = np.eye(end - begin)
        earned = [expected_payoffs(form, realization_plan(form, each))[owner] for each in deviations]
        result.append(max(earned) - payoffs[owner])
    return np.array(result)


@pytest.mark.parametrize("name", ["kuhn_poker", "leduc_poker"])
def test_without_a_penalty_the_gap_of_a_tree_is_that_of_its_agent_form(name):
    """It is the sum of one-shot deviations, and not NashConv; the dilated gap is NashConv."""
    form = OpenSpiel(name).form
    strategy = draw_strategy(form)
    gap = duality_gap(form, strategy, uniform_strategy(form), 0.0)
    if name == "kuhn_poker":
        assert gap == pytest.approx(deviation_gains(form, strategy).sum(), abs=1e-12)
    distance = nash_conv(form, realization_plan(form, strategy))
    assert abs(gap - distance) > 0.01
    assert dilated_gap(form, strategy, uniform_strategy(form), 0.0) == distance


def test_the_gap_to_a_reference_that_lacks_actions():
    """Its penalty counts where the strategy plays them, and has a weight: there it is infinite."""
    form = OpenSpiel("kuhn_poker").form
    strategy, reference = draw_strategy(form), uniform_strategy(form)
    reference[form.first[0] : form.first[1]] = [1, 0]
    uniform = duality_gap(form, strategy, uniform_strategy(form), 0.0)
    assert duality_gap(form, strategy, reference, 0.0) == uniform > 0
    assert duality_gap(form, strategy, reference, 0.1) == dilated_gap(form, strategy, reference, 0.1) == np.inf
    strategy[form.first[0] : form.first[1]] = [1, 0]
    assert np.isfinite(duality_gap(form, strategy, reference, 0.1))
    assert np.isfinite(duality_gap(form, strategy, reference, 1e-4))
