"""The CFR family gives OpenSpiel's numbers, iteration by iteration, and satisfies the bounds of the papers."""

import numpy as np
import pyspiel
import pytest
from contracts import parts

from games.openspiel.game import OpenSpiel
from marl_engine.extensive_form.sequence_form import behavior_strategy, expected_payoffs, nash_conv, realization_plan
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from solvers.cfr.cfr import CFR, initial_state, iterate
from solvers.cfr.torch_cfr import make_iterate

KUHN = {  # NashConv of the average after 1, 10, 100, 1000 iterations
    "cfr": (0.916667, 0.137398, 0.016452, 0.001875),
    "cfr_plus": (0.916667, 0.065374, 0.002389, 0.000175),
    "linear_cfr": (0.916667, 0.042501, 0.002178, 0.000187),
    "dcfr": (0.916667, 0.045558, 0.003333, 0.000293),
    "pcfr_plus": (0.916667, 0.040413, 0.000046, 0.0),
}
SIMULTANEOUS = (0.916667, 0.192417, 0.051349, 0.014538)
LEDUC = {  # after 1, 10, 100 iterations, from OpenSpiel's C++
    "cfr": (4.747222, 1.777158, 0.191433),
    "cfr_plus": (4.747222, 1.220878, 0.026832),
}


def measure(components, last):
    """Returns NashConv of the average after 1, 10, 100, … iterations."""
    values = []
    for progress in components.solver.solve(components.profile, components.responder):
        if progress.iteration in (1, 10, 100, 1000):
            values.append(progress.metrics["nash_conv"])
        if progress.iteration == last:
            return values


@pytest.mark.parametrize("name", KUHN)
def test_kuhn(name):
    assert measure(parts(solver=name, game="kuhn_poker"), 1000) == pytest.approx(KUHN[name], abs=5e-7)


def test_kuhn_all_players_at_once():
    components = parts(solver="cfr", game="kuhn_poker")
    components.solver = CFR(alternating=False)
    assert measure(components, 1000) == pytest.approx(SIMULTANEOUS, abs=5e-7)


@pytest.mark.parametrize("name", LEDUC)
def test_leduc(name):
    assert measure(parts(solver=name, game="leduc_poker"), 100) == pytest.approx(LEDUC[name], abs=5e-7)


@pytest.mark.parametrize("name", ["liars_dice(numdice=1,dice_sides=3)", "kuhn_poker(players=3)"])
def test_cfr_plus_is_openspiels(name):
    """Averages in every information set, not only their NashConv."""
    game = OpenSpiel(name)
    solver, profile = CFR(floor=True, gamma=1.0), TabularSpec().profile(game)
    reference = pyspiel.CFRPlusSolver(pyspiel.load_game(name))
    for progress in solver.solve(profile, ExactResponder(game)):
        reference.evaluate_and_update_policy()
        if progress.iteration == 20:
            break
    average = reference.tabular_average_policy().policy_table()
    actual = game.tabular(stack_tables(profile))
    assert actual.keys() == average.keys()
    for infoset, chances in actual.items():
        assert [chance for _, chance in chances] == pytest.approx([chance for _, chance in average[infoset]], abs=1e-9)


def test_value_of_kuhn():
    components = parts(solver="pcfr_plus", game="kuhn_poker")
    measure(components, 1000)
    form = components.game.form
    assert expected_payoffs(form, realization_plan(form, stack_tables(components.profile))) == pytest.approx(
        (-1 / 18, 1 / 18), abs=1e-6
    )


def test_regret_falls_as_zinkevich_et_al_prove():
    """Theorem 4: NashConv of the average is at most the sum over players of information sets * range *
    sqrt(actions / T).
    """
    components = parts(solver="cfr", game="kuhn_poker")
    values = measure(components, 1000)
    spread = 4.0  # payoffs of Kuhn poker are from -2 to 2
    for count, distance in zip((1, 10, 100, 1000), values, strict=True):
        assert distance <= 12 * spread * np.sqrt(2 / count)


def test_a_stride_changes_nothing_but_how_often_one_looks():
    game = OpenSpiel("leduc_poker")
    ends = []
    for stride in (1, 25):
        profile = TabularSpec().profile(game)
        for progress in CFR(floor=True, gamma=1.0, stride=stride).solve(profile, ExactResponder(game)):
            if progress.iteration == 50:
                break
        ends.append((stack_tables(profile), progress.metrics))
    assert np.array_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


@pytest.mark.parametrize("name", ["leduc_poker", "kuhn_poker(players=3)"])
@pytest.mark.parametrize("solver", [*KUHN, "pdcfr_plus", "simultaneous"])
def test_whole_levels_in_torch_are_the_compiled_loop(name, solver):
    form = OpenSpiel(name).form
    noise = np.random.default_rng(0).normal(size=len(form.payoff))  # without it ties are decided by rounding
    form = form.with_payoff(form.payoff + form.chance * noise)
    cfr = CFR(alternating=False) if solver == "simultaneous" else parts(solver=solver).solver
    one, other = initial_state(form), initial_state(form)
    iterate(form, cfr.rule, one, 0, 8, int(cfr.alternating))
    make_iterate(form, cfr.rule, other, cfr.alternating, "cpu")(0, 8)
    for field in ("strategy", "plan", "regret", "total"):
        assert getattr(other, field) == pytest.approx(getattr(one, field), rel=1e-9, abs=1e-9), field


def test_another_device_comes_to_the_same_numbers():
    game = OpenSpiel("kuhn_poker")
    responder, profile = ExactResponder(game), TabularSpec().profile(game)
    responder.device = "cpu:0"  # by its full name, which is not that of the compiled loop
    for progress in CFR(floor=True, gamma=1.0, stride=10).solve(profile, responder):
        if progress.iteration == 100:
            break
    assert progress.metrics["nash_conv"] == pytest.approx(KUHN["cfr_plus"][2], abs=1e-6)


def test_leduc_after_300_iterations():
    """OpenSpiel has 0.071048 and 0.004581; the latter depends on how rounding breaks ties, as a change of unit
    shows.
    """
    form = OpenSpiel("leduc_poker").form

    def distance(solver, form):
        state = initial_state(form)
        iterate(form, solver.rule, state, 0, 300, 1)
        return nash_conv(form, realization_plan(form, behavior_strategy(form, state.total)))

    assert distance(CFR(), form) == pytest.approx(0.071048, abs=5e-7)
    plus = CFR(floor=True, gamma=1.0)
    units = [distance(plus, form.with_payoff(form.payoff * unit)) / unit for unit in (1, 3, 7)]
    assert units == pytest.approx([0.004581] * 3, rel=0.03)
    assert max(units) - min(units) > 1e-6
