"""Mirror descent and related solvers converge to the predicted points at the predicted rates."""

from itertools import islice, pairwise

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize
from settings import CONFIGS

from games.normal_form.catalogue import PREFERENCES
from games.normal_form.games import MatrixGame, PreferenceFile, PreferenceMatrix
from games.openspiel import OpenSpiel
from marl_engine.extensive_form.regularised import duality_gap
from marl_engine.extensive_form.sequence_form import expected_payoffs, nash_conv, realization_plan
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.responders.ppo import PPO
from marl_engine.types import Work
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.nash_md import NashMD
from solvers.mirror_descent.omwu import OMWU

START = (0.6, 0.3, 0.1)
EQUILIBRIA = {  # of the preference games regularised towards START, by magnet_weight; two solvers found the same
    ("cycle", 0.5): (0.47508864, 0.41631526, 0.10859610),
    ("cycle", 0.1): (0.30479773, 0.42474706, 0.27045521),
    ("cycle", 0.02): (0.34105910, 0.30593091, 0.35300999),
    ("dice", 0.5): (0.61251364, 0.28369768, 0.10378869),
    ("dice", 0.1): (0.64372993, 0.22849842, 0.12777165),
    ("dice", 0.02): (0.51951644, 0.18674871, 0.29373485),
    ("rock_paper_scissors", 0.5): (0.64350645, 0.19319261, 0.16330094),
    ("rock_paper_scissors", 0.1): (0.43206532, 0.23032931, 0.33760536),
    ("rock_paper_scissors", 0.02): (0.34926151, 0.30976336, 0.34097513),
}
MMD_POINTS = {  # of biased rock-paper-scissors scaled to [0, 1], drawn to uniform
    0.05: (0.151745, 0.467948, 0.380308),
    0.1: (0.173478, 0.486303, 0.340219),
    0.2: (0.223645, 0.477988, 0.298367),
    0.5: (0.298133, 0.413820, 0.288046),
}


def trace(solver, game, iterations):
    """Returns the first seat's strategy at the start and after every iteration, and the last metrics."""
    profile = TabularSpec().profile(game)
    iterates = [profile[0].strategy.numpy().copy()]
    for progress in solver.solve(profile, ExactResponder(game)):
        iterates.append(profile[0].strategy.numpy().copy())
        if progress.iteration == iterations:
            return np.array(iterates), progress.metrics


def iterations_until(rate, precision=1e-16):
    """Returns the number of iterations after which a distance that falls by 1 + rate in each is below a precision."""
    return int(np.log(1 / precision) / np.log1p(rate))


def divergence(target, strategy):
    """Returns KL(target || strategy)."""
    return float((target * np.log(target / strategy)).sum())


@pytest.mark.parametrize(("name", "magnet_weight"), EQUILIBRIA)
def test_mirror_prox_goes_to_the_regularised_equilibrium(name, magnet_weight):
    solver, game = MirrorProx(step_size=2.0, magnet_weight=magnet_weight), PreferenceMatrix(name, reference=START)
    iterates, metrics = trace(solver, game, iterations_until(2 * magnet_weight))
    assert iterates[-1] == pytest.approx(EQUILIBRIA[name, magnet_weight], abs=1e-7)
    assert metrics["gap"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("name", "magnet_weight"), [key for key in EQUILIBRIA if key[1] > 0.02])
def test_mmd_goes_there_too(name, magnet_weight):
    solver, game = MMD(step_size=0.2, magnet_weight=magnet_weight), PreferenceMatrix(name, reference=START)
    iterates, _ = trace(solver, game, iterations_until(0.2 * magnet_weight))
    assert iterates[-1] == pytest.approx(EQUILIBRIA[name, magnet_weight], abs=1e-7)


@pytest.mark.parametrize(("name", "magnet_weight"), EQUILIBRIA)
def test_optimism_goes_there_too(name, magnet_weight):
    solver, game = OMWU(step_size=1.0, magnet_weight=magnet_weight), PreferenceMatrix(name, reference=START)
    iterates, _ = trace(solver, game, iterations_until(magnet_weight))
    assert iterates[-1] == pytest.approx(EQUILIBRIA[name, magnet_weight], abs=1e-7)


@pytest.mark.parametrize("name", PREFERENCES)
@pytest.mark.parametrize("magnet_weight", [0.5, 0.1, 0.05])
def test_mirror_prox_is_as_fast_as_proven(name, magnet_weight):
    """KL(equilibrium || iterate) falls at least by 1 + 2 * magnet_weight in every iteration."""
    game = PreferenceMatrix(name, reference=START)
    iterates, _ = trace(MirrorProx(magnet_weight=magnet_weight), game, iterations_until(2 * magnet_weight))
    target, iterates = iterates[-1], iterates[:40]
    first = divergence(target, iterates[0])
    for iteration, each in enumerate(iterates):
        assert divergence(target, each) <= first * (1 + 2 * magnet_weight) ** -iteration + 1e-12


def test_mirror_prox_is_egpo():
    """The explicit extragradient step eta = gamma / (1 + gamma * magnet_weight) gives the same iterates."""
    magnet_weight, gamma = 0.05, 2.0
    eta = gamma / (1 + gamma * magnet_weight)
    iterates, _ = trace(
        MirrorProx(step_size=gamma, magnet_weight=magnet_weight), PreferenceMatrix("cycle", reference=START), 50
    )
    preference, here = np.array(PREFERENCES["cycle"]), np.array(START)
    for each in iterates[1:]:

        def explicit(opponent, here=here):
            step = (
                (1 - eta * magnet_weight) * np.log(here)
                + eta * magnet_weight * np.log(START)
                + eta * (preference @ opponent)
            )
            return np.exp(step) / np.exp(step).sum()

        here = explicit(explicit(here))
        assert each == pytest.approx(here, abs=1e-12)


@pytest.mark.parametrize("step_size", [0.1, 1.0, 2.0])
def test_a_constant_step_of_nash_md_is_biased_as_it_should_be(step_size):
    """The mixture, not the profile, is the equilibrium at magnet_weight / (1 - step_size * magnet_weight)."""
    magnet_weight, game = 0.1, PreferenceMatrix("cycle", reference=START)
    iterates, _ = trace(NashMD(step_size=step_size, magnet_weight=magnet_weight), game, int(300 / step_size))
    mixture = iterates[-1] ** (1 - step_size * magnet_weight) * np.array(START) ** (step_size * magnet_weight)
    solver = MirrorProx(magnet_weight=magnet_weight / (1 - step_size * magnet_weight))
    target = trace(solver, game, iterations_until(2 * solver.magnet_weight))[0][-1]
    assert mixture / mixture.sum() == pytest.approx(target, abs=1e-9)


@pytest.mark.parametrize(("step_size", "distance"), [(0.1, 1.8e-5), (0.5, 4.7e-4), (1.0, 2.0e-3), (2.0, 9.0e-3)])
def test_bias_of_nash_md(step_size, distance):
    game = PreferenceMatrix("cycle", reference=START)
    _, metrics = trace(NashMD(step_size=step_size, magnet_weight=0.1), game, int(300 / step_size))
    assert metrics["gap"] == pytest.approx(distance, rel=0.03)


@pytest.mark.parametrize("magnet_weight", [0.1, 0.02])
def test_plain_self_play_is_stable_up_to_its_threshold_and_not_beyond(magnet_weight):
    """Explicit steps eta < 2 w / (w^2 + omega^2), with magnet weight w and omega from the eigenvalues at the
    equilibrium.
    """
    game, preference = PreferenceMatrix("cycle", reference=START), np.array(PREFERENCES["cycle"])
    target = trace(MirrorProx(magnet_weight=magnet_weight), game, iterations_until(2 * magnet_weight))[0][-1]
    turning = np.linalg.eigvals(preference @ (np.diag(target) - np.outer(target, target)))
    threshold = 2 * magnet_weight / (magnet_weight**2 + np.abs(turning.imag).max() ** 2)
    game = PreferenceMatrix("cycle", reference=START)
    for share, settles in ((0.9, True), (1.1, False)):
        eta = share * threshold
        iterates, _ = trace(
            MMD(step_size=eta / (1 - eta * magnet_weight), magnet_weight=magnet_weight), game, int(50 / magnet_weight)
        )
        assert divergence(target, iterates[-1]) < 1e-4 if settles else divergence(target, iterates[-1]) > 0.05


@pytest.mark.parametrize("magnet_weight", MMD_POINTS)
def test_mmd_fixed_points(magnet_weight, tmp_path):
    np.savetxt(tmp_path / "scaled.csv", (np.array([[0, -3, 3], [3, 0, -1], [-3, 1, 0]]) + 3) / 6, delimiter=",")
    game = MatrixGame(payoffs=str(tmp_path / "scaled.csv"))
    iterates, _ = trace(MMD(step_size=magnet_weight, magnet_weight=magnet_weight), game, int(12 / magnet_weight**2))
    assert iterates[-1] == pytest.approx(MMD_POINTS[magnet_weight], abs=1e-5)


def test_hedge_runs_in_circles_while_its_average_converges():
    iterates, _ = trace(MMD(step_size=0.1, magnet_weight=0.0), PreferenceMatrix("cycle", reference=START), 4000)
    game = PreferenceMatrix("cycle")

    def distance(strategy):
        return nash_conv(game.form, np.concatenate([[1, 1], strategy, strategy]))

    assert min(distance(each) for each in iterates[-500:]) > 0.1
    assert distance(iterates.mean(0)) < 0.02


def test_a_moving_magnet_leads_to_the_equilibrium_itself():
    """COMAL with exactly solved inner games: (4, 3, 4) / 11, the opposite margins of the cycle."""
    iterates, metrics = trace(
        MMD(step_size=1.0, magnet_weight=0.1, move_every=50), PreferenceMatrix("cycle", reference=START), 1500
    )
    assert iterates[-1] == pytest.approx(np.array([4, 3, 4]) / 11, abs=1e-5)
    assert metrics["nash_conv"] < 1e-5


def queries_of(solver, most=1200):
    """Returns the number of payoff evaluations until the gap on the cycle is 1e-3, up to a limit."""
    game = PreferenceMatrix("cycle", reference=START)
    responder, profile = ExactResponder(game), TabularSpec().profile(game)
    work = Work()
    for progress in solver.solve(profile, responder):
        work += progress.work
        if progress.metrics["gap"] <= 1e-3 or work["queries"] >= most:
            return work["queries"]


@pytest.mark.parametrize(("magnet_weight", "queries"), [(0.1, 22), (0.05, 36), (0.02, 62)])
def test_queries_of_mirror_prox(magnet_weight, queries):
    assert queries_of(MirrorProx(step_size=2.0, magnet_weight=magnet_weight)) == queries


@pytest.mark.parametrize(("kind", "reference"), [(MMD, 786), (NashMD, 723)])
def test_where_the_pull_is_weak_no_step_makes_up_for_the_look_ahead(kind, reference):
    """At least eleven times the queries of Mirror-Prox, at the best of all steps (M4)."""
    counts = [queries_of(kind(step_size=step, magnet_weight=0.02)) for step in np.geomspace(0.05, 0.8, 9)]
    assert min(counts) == pytest.approx(reference, rel=0.05)
    assert min(counts) > 11 * queries_of(MirrorProx(step_size=2.0, magnet_weight=0.02))


def test_way_of_mirror_prox():
    """KL, gap and the span of log-probabilities, which falls linearly, at magnet_weight .05."""
    magnet_weight, game = 0.05, PreferenceMatrix("cycle", reference=START)
    target = trace(MirrorProx(magnet_weight=magnet_weight), game, iterations_until(2 * magnet_weight))[0][-1]
    for iterations, *expected in (
        (10, 9.3e-3, 1.9e-2, 0.32),
        (30, 7.8e-6, 1.5e-5, 9.9e-3),
        (60, 1.9e-10, 3.6e-10, 4.6e-5),
    ):
        iterates, metrics = trace(MirrorProx(magnet_weight=magnet_weight), game, iterations)
        numbers = [divergence(target, iterates[-1]), metrics["gap"], float(np.ptp(np.log(iterates[-1] / target)))]
        assert numbers == pytest.approx(expected, rel=0.04)


def test_copies_of_answers_change_nothing_for_mirror_prox(tmp_path):
    """Ten copies of each answer share its probability: the rate does not depend on the number of answers."""
    np.save(tmp_path / "many.npy", np.kron(PREFERENCES["cycle"], np.ones((10, 10))))
    shared = tuple(np.repeat(START, 10) / 10)
    one, one_metrics = trace(MirrorProx(magnet_weight=0.05), PreferenceMatrix("cycle", reference=START), 20)
    many, many_metrics = trace(
        MirrorProx(magnet_weight=0.05), PreferenceFile(str(tmp_path / "many.npy"), reference=shared), 20
    )
    assert many.reshape(21, 3, 10).sum(-1) == pytest.approx(one, abs=1e-12)
    assert many_metrics["gap"] == pytest.approx(one_metrics["gap"], rel=1e-6)


@pytest.mark.parametrize("magnet_weight", [0.5, 0.05])
def test_the_gap_is_its_closed_form(magnet_weight):
    """2 * [w * log sum mu exp(P pi / w) + w * KL(pi || mu) - 1/2], w the magnet weight, and a numerical
    maximisation.
    """
    game = PreferenceMatrix("cycle", reference=START)
    pi, mu, preference = np.array([0.2, 0.5, 0.3]), np.array(START), np.array(PREFERENCES["cycle"])
    closed_form_gap = 2 * (
        magnet_weight * np.log(mu @ np.exp(preference @ pi / magnet_weight)) + magnet_weight * divergence(pi, mu) - 0.5
    )
    strategy, reference = (np.concatenate([[1, 1], each, each]) for each in (pi, mu))
    assert duality_gap(game.form, strategy, reference, magnet_weight) == pytest.approx(closed_form_gap, abs=1e-12)

    def loss(logits):
        other = np.exp(logits - logits.max())
        other /= other.sum()
        return magnet_weight * divergence(other, mu) - other @ preference @ pi

    searched = min(minimize(loss, start, tol=1e-12).fun for start in np.eye(3))
    assert 2 * (-searched + magnet_weight * divergence(pi, mu) - 0.5) == pytest.approx(closed_form_gap, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "joint", "earned"),
    [("prisoners_dilemma", (1, 1), (-2, -2)), ("chicken", (0, 1), (7, 2)), ("climbing", (0, 1), (-30, -30))],
)
def test_payoffs_of_classics(name, joint, earned):
    game = MatrixGame(name)
    strategy = np.concatenate([[1, 1], *np.eye(game.actions)[list(joint)]])
    assert expected_payoffs(game.form, realization_plan(game.form, strategy)) == pytest.approx(earned)


def test_a_profile_goes_on_from_a_checkpoint_with_its_reference():
    """Ten iterations, or four, a new solver and six."""
    game = PreferenceMatrix("cycle", reference=START)
    for make in (
        lambda: MirrorProx(magnet_weight=0.05),
        lambda: MMD(magnet_weight=0.1, move_every=3),
        lambda: NashMD(magnet_weight=0.1),
    ):
        full, _ = trace(make(), game, 10)
        first, profile = make(), TabularSpec().profile(game)
        for progress in first.solve(profile, ExactResponder(game)):
            if progress.iteration == 4:
                break
        second = make()
        set_state(second, get_state(first))
        for progress in second.solve(profile, ExactResponder(game), after=4):
            if progress.iteration == 10:
                break
        assert np.array_equal(stack_tables(profile)[2:5], full[-1])


def test_kuhn_by_annealed_mmd():
    """Step and magnet_weight of 1 / sqrt(t): the last iterate converges to an equilibrium of the game itself."""
    from games.openspiel.game import OpenSpiel

    game = OpenSpiel("kuhn_poker")
    profile = TabularSpec().profile(game)
    distances = []
    for progress in MMD(step_size=1.0, magnet_weight=1.0, anneal=True).solve(profile, ExactResponder(game)):
        if progress.iteration in (10, 100, 1000, 10000):
            distances.append(progress.metrics["nash_conv"])
        if progress.iteration == 10000:
            break
    assert all(later < earlier for earlier, later in pairwise(distances))
    assert distances[-1] < 0.01


@pytest.mark.parametrize("magnet_weight", [0.1, 0.02])
def test_annealed_nash_md_forgets_its_start_with_the_step_of_the_preset(magnet_weight):
    """The influence of the start falls as 1 / t^2, and the last iterate converges, for any magnet_weight."""
    game = PreferenceMatrix("cycle", reference=[0.6, 0.3, 0.1])
    profile = TabularSpec().profile(game)
    solver = NashMD(**{**preset("nash_md"), "magnet_weight": magnet_weight, "anneal": True})
    gaps = [progress.metrics["gap"] for progress in islice(solver.solve(profile, ExactResponder(game)), 5000)]
    assert gaps[-1] < 1e-5
    assert gaps[-1] < gaps[500] / 50


@pytest.mark.parametrize("name", ["mmd", "inpo"])
def test_annealed_mmd_forgets_its_start_with_the_numbers_of_the_preset(name):
    """As 1 / t, not as t^-(step_size * magnet_weight); the last iterate converges as the magnet_weight falls."""
    game = PreferenceMatrix("cycle", reference=[0.6, 0.3, 0.1])
    profile = TabularSpec().profile(game)
    solver = MMD(**{**preset(name), "anneal": True})
    distances = [
        progress.metrics["nash_conv"] for progress in islice(solver.solve(profile, ExactResponder(game)), 5000)
    ]
    assert distances[-1] < 0.04
    assert distances[-1] < distances[500] / 2


def preset(name):
    """Returns the keys of a solver's preset."""
    keys = yaml.safe_load((CONFIGS / "solver" / f"{name}.yaml").read_text())["solver"]
    return {key: value for key, value in keys.items() if key != "_target_"}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("solver", [MirrorProx, NashMD, MMD])
def test_steps_and_pulls_are_finite_numbers(solver, number):
    """Except for MMD's step, which may be infinite: then only the magnet regularises."""
    with pytest.raises(ValueError, match=r"solver\.magnet_weight must be a finite number"):
        solver(magnet_weight=number)
    if solver is MMD and number > 0:
        assert MMD(step_size=number).step_size == number
    else:
        with pytest.raises(ValueError, match=r"solver\.step_size must be a .*number above 0"):
            solver(step_size=number)


def test_mixed_magnets_are_for_tables():
    """A mixture of networks remembers which of them it plays, and nothing can be held near it."""
    game, spec = OpenSpiel("kuhn_poker"), MLPSpec(hidden=[4])
    responder = PPO(game, spec, num_envs=4, rollout_length=4)
    with pytest.raises(ValueError, match=r"solver.first_share is for tables: .* use policy=table, or solver.first_sha"):
        MMD(first_share=0.5, move_every=2).solve(spec.profile(game), responder)
    MMD(move_every=2).solve(spec.profile(game), responder)
