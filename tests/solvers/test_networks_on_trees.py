"""Solvers of tables move networks on extensive games: mixtures, forecasts and taxes are the same of both."""

from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
import torch
from contracts import parts

from games.openspiel import OpenSpiel
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.extensive_form.sequence_form import expected_payoffs, gains, owners, realization_plan
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies import MLPSpec, SoftmaxTablePolicy, TabularSpec
from marl_engine.policies.mixtures.geometric import extrapolate, freeze, mix_geometrically
from marl_engine.policies.mixtures.population import begin_newcomers, mix_members
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import average_strategy, fill_tables, geometric_mean_strategy
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.responders import PPO
from marl_engine.rollout.rollout import record
from marl_engine.rollout.seating import Seating
from marl_engine.rollout.stream import Stream
from marl_engine.runs.factory import build
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.run import Run, RunOptions, StopRule
from marl_engine.types import Opponents
from solvers.mirror_descent.r_nad import tax_rewards, tax_strategies

SOLVERS = ("nash_md", "mirror_prox", "mmd", "inpo", "comal", "omwu", "r_nad", "self_play")


def random_network(game, seed):
    """A profile of one network whose choices are far from even."""
    torch.manual_seed(seed)
    profile = MLPSpec(hidden=(8,)).profile(game)
    with torch.no_grad():
        for weights in profile[0].parameters():
            weights.add_(torch.randn_like(weights))
    return profile


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_mixture_of_networks_is_that_of_their_strategies(weight):
    game = OpenSpiel("kuhn_poker")
    profile, other = random_network(game, 0), random_network(game, 1)
    tables = [TabularSpec().profile(game) for _ in range(2)]
    for table, network in zip(tables, (profile, other), strict=True):
        fill_tables(table, extract_strategy(game, network))
    mixture = mix_geometrically(profile, other, weight)
    assert mixture[0] is mixture[1]
    expected = geometric_mean_strategy(*tables, weight)
    np.testing.assert_allclose(extract_strategy(game, mixture), expected, atol=1e-6)


def test_a_forecast_is_the_same_for_tables_and_for_logits():
    start, end = torch.randn(2, 3, 4, dtype=torch.float64)
    profile = [SoftmaxTablePolicy(torch.zeros(3, 4, dtype=torch.float64))]
    extrapolate(profile, [SoftmaxTablePolicy(start)], [SoftmaxTablePolicy(end)], 0.5)
    expected = (1.5 * end.log_softmax(-1) - 0.5 * start.log_softmax(-1)).softmax(-1)
    torch.testing.assert_close(profile[0].logits.detach().softmax(-1), expected)


def test_taxed_rewards_of_play_are_the_payoffs_of_the_taxed_game():
    """E[rewards] over games of Kuhn poker, sampled and from the taxed form; three standard errors."""
    game = OpenSpiel("kuhn_poker")
    profile, reference = random_network(game, 2), random_network(game, 3)
    games, turns = 2000, 30
    stream = Stream(game, derive_seeds(0, games))
    trajectory, _ = stream.play(profile, turns)
    unused = trajectory.log_prob.masked_fill(~trajectory.acting, torch.nan)
    rewards = tax_rewards(trajectory._replace(log_prob=unused), reference, 0.4)
    last = trajectory.done.cumsum(0)
    own = rewards * (last - trajectory.done.long() < last[-1])[..., None]  # of games that came to an end
    means = own.double().sum((0, 1)) / trajectory.done.sum()
    strategies = [extract_strategy(game, each) for each in (profile, reference)]
    form = tax_strategies(game.form, *strategies, 0.4)
    expected = expected_payoffs(form, realization_plan(form, strategies[0]))
    assert means.numpy() == pytest.approx(expected, abs=0.03)
    assert abs(expected - expected_payoffs(game.form, realization_plan(game.form, strategies[0]))).max() > 0.1


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_moves_networks_and_measures_them(solver):
    made = parts(game="kuhn_poker", policy="network", responder="ippo", solver=solver)
    before = extract_strategy(made.game, freeze(made.profile))
    *_, progress = islice(made.solver.solve(made.profile, made.responder), 2)
    assert np.abs(extract_strategy(made.game, made.profile) - before).max() > 0
    assert 0 < progress.metrics["nash_conv/last"] < 6


def mixture_of_networks(game, weights):
    """A profile of mixtures of networks, and the same members as lists of each seat."""
    networks = [random_network(game, seed) for seed in range(len(weights))]
    members = [[network[seat] for network in networks] for seat in range(game.players)]
    return mix_members(members, [weights] * game.players), members


def test_a_mixture_of_members_plays_the_mean_of_their_plans():
    game, weights = OpenSpiel("leduc_poker"), [0.5, 0.2, 0.3]
    profile, members = mixture_of_networks(game, weights)
    tables = [[tabulated(game, policies, member)[seat] for member in range(3)] for seat, policies in enumerate(members)]
    np.testing.assert_allclose(extract_strategy(game, profile), average_strategy(tables, [weights] * 2), atol=1e-9)


def tabulated(game, policies, member):
    """Tables that play as one of the policies does, in every seat."""
    profile = TabularSpec().profile(game)
    fill_tables(profile, extract_strategy(game, [policies[member]] * game.players))
    return profile


def test_a_mixture_that_remembers_its_actions_plays_the_equivalent_behavior_strategy():
    """Log-probabilities of sampled play are those of the table, although members are weighed anew in each decision."""
    game = OpenSpiel("leduc_poker")
    profile, _ = mixture_of_networks(game, [0.5, 0.2, 0.3])
    table = np.zeros(game.legal.shape)
    table[game.legal] = extract_strategy(game, profile)[game.players :]
    seeds = derive_seeds(0, 50)
    trajectory, _, memory = record(game, Seating(profile, 50, seeds.device), game.reset(seeds), seeds, 0, 30)
    acting, number = trajectory.acting, trajectory.observation[..., 0].long()
    expected = torch.from_numpy(table)[number[acting], trajectory.action[acting]].log()
    torch.testing.assert_close(trajectory.log_prob[acting].double(), expected, atol=1e-5, rtol=1e-4)
    assert (memory[0][0]["belief"].exp().max(1).values > 0.6).any()  # actions told members apart


def test_a_mixture_of_members_has_no_geometric_mixture():
    game = OpenSpiel("kuhn_poker")
    profile, _ = mixture_of_networks(game, [0.1, 0.0, 0.9])
    with pytest.raises(ValueError, match="mixtures of a population have no geometric mixture"):
        mix_geometrically(random_network(game, 0), profile, 0.5)


def test_a_mixture_is_saved_and_restored_over_a_profile_of_networks():
    game = OpenSpiel("kuhn_poker")
    profile, _ = mixture_of_networks(game, [0.1, 0.0, 0.9])
    assert len(profile[0].members) == 2  # a member without weight is left out
    other = random_network(game, 9)
    load_profile_state(other, deepcopy(profile_state(profile)))
    np.testing.assert_array_equal(extract_strategy(game, other), extract_strategy(game, profile))
    with pytest.raises(ValueError, match="weights of 2 policies"):
        load_profile_state(random_network(game, 9), profile_state(MLPSpec(hidden=(8,), shared=False).profile(game)))


@pytest.mark.parametrize(("solver", "iterate"), [("psro", "mixture"), ("fictitious_play", "average")])
def test_a_population_of_networks_goes_on_where_it_stopped(solver, iterate):
    def begin():
        made = parts(game="kuhn_poker", policy="network", responder="ippo", solver=solver)
        made.solver.oracle_steps = 2
        return made

    def save(made):
        made.responder.prepare(made.profile)
        state = profile_state(made.profile), get_state(made.responder), get_state(made.solver)
        return deepcopy((*state, torch.get_rng_state()))

    whole, second = begin(), begin()
    progress = whole.solver.solve(whole.profile, whole.responder)
    list(islice(progress, 2))
    profile, responder, state, random = save(whole)
    expected = next(progress)
    load_profile_state(second.profile, profile)
    second.responder.prepare(second.profile)
    set_state(second.responder, responder)
    set_state(second.solver, state)
    torch.set_rng_state(random)
    result = next(second.solver.solve(second.profile, second.responder, after=2))
    assert result.iteration == expected.iteration == 3
    assert result.metrics[f"nash_conv/{iterate}"] == expected.metrics[f"nash_conv/{iterate}"]


def test_a_run_of_psro_with_networks_is_saved_and_restored(tmp_path):
    """Its checkpoint holds mixtures of several networks, and queries of the solver beside steps of the responder."""
    keys = ["game=kuhn_poker", "solver=psro", "policy=network", "responder=ippo", "steps=null", "responder.num_envs=8"]
    config = compose_config("train", [*keys, "solver.oracle_steps=1", "policy.hidden=[8]"])
    folder = RunFolder(tmp_path)
    folder.write_config(config)
    first, second = (Run(build(config), RunOptions(iterations=2), StopRule(), folder) for _ in range(2))
    first.run(lambda record: None)
    assert second.restore() == []
    assert second.work == first.work
    assert set(first.work) == {"steps", "queries"}
    saved, restored = (extract_strategy(each.parts.game, each.parts.profile) for each in (first, second))
    np.testing.assert_array_equal(saved, restored)


def test_a_newcomer_learns_the_best_response_to_the_mixture():
    """Each seat earns against uniform play what a best response earns, within 0.05."""
    game = OpenSpiel("kuhn_poker")
    torch.manual_seed(0)
    network = MLPSpec(hidden=(16,))
    profile = network.profile(game)
    responder = PPO(
        game,
        network,
        num_envs=256,
        rollout_length=32,
        minibatches=1,
        learning_rate=0.01,
        discount=1.0,
        gae_lambda=1.0,
        entropy_bonus=0.0,
        payoff_scale=0.5,
    )
    newcomers = begin_newcomers(profile)
    for _ in range(40):
        responder.respond(newcomers, Opponents([profile]))
    strategy, uniform = (extract_strategy(game, each) for each in (newcomers, profile))
    plans = [realization_plan(game.form, each) for each in (strategy, uniform)]
    gained = [expected_payoffs(game.form, np.where(owners(game.form) == seat, *plans))[seat] for seat in range(2)]
    best = gains(game.form, plans[1]) + expected_payoffs(game.form, plans[1])
    np.testing.assert_allclose(gained, best, atol=0.05)
