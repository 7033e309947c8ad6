"""Reservoirs keep every item with equal probability, and a policy fitted to one is the average of what was played."""

from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
import torch

from games.openspiel import OpenSpiel
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Refused
from marl_engine.numerics.reservoir import Reservoir
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies import MLPSpec
from marl_engine.policies.mixtures.population import mix_members
from marl_engine.policies.strategy import extract_strategy
from marl_engine.responders.learners.average_policy import AveragePolicy
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.stream import Stream
from marl_engine.runs.factory import build
from solvers.populations import NFSP, League
from solvers.reservoir_average import ReservoirAverage
from solvers.self_play import SelfPlay


def test_every_item_is_kept_with_equal_probability():
    """30 items in batches of 1 to 8, 10 places: each is kept in a third of 3000 reservoirs, within 5 standard errors,
    and each pair as often as in samples without replacement.
    """
    trials, items, capacity = 3000, torch.arange(30), 10
    kept = np.zeros((trials, 30))
    for trial in range(trials):
        reservoir = Reservoir(capacity, seed=trial)
        for part in items.split([1, 8, 5, 7, 1, 8]):
            reservoir.add([part])
        kept[trial, reservoir.columns[0].numpy()] = 1
    assert (kept.sum(1) == capacity).all()
    share, pair = capacity / 30, capacity * (capacity - 1) / (30 * 29)
    assert np.abs(kept.mean(0) - share).max() < 5 * (share * (1 - share) / trials) ** 0.5
    together = (kept.T @ kept / trials)[~np.eye(30, dtype=bool)]
    assert np.abs(together - pair).max() < 5 * (pair * (1 - pair) / trials) ** 0.5


@pytest.mark.parametrize("power", [1, 2])
def test_later_items_are_kept_more_often(power):
    """The n-th in proportion to n^power, up to terms of the order 1 / n; counted in five parts."""
    trials, count, capacity = 3000, 200, 10
    kept = np.zeros(count)
    for trial in range(trials):
        reservoir = Reservoir(capacity, trial, power=power)
        for part in torch.arange(count).split(40):
            reservoir.add([part])
        kept[reservoir.columns[0].numpy()] += 1 / trials
    ends = np.linspace(0, 1, 6)
    expected = capacity * np.diff(ends ** (power + 1))
    assert np.abs(kept.reshape(5, 40).sum(1) - expected).max() < 0.15


def test_rows_stay_together_and_samples_are_uniform():
    reservoir = Reservoir(100, seed=1)
    for part in torch.arange(2000).split(170):
        reservoir.add([part, 3 * part[:, None]])
    assert (len(reservoir), reservoir.seen) == (100, 2000)
    item, triple = reservoir.sample(20_000)
    assert torch.equal(triple[:, 0], 3 * item)
    counts = np.unique(item.numpy(), return_counts=True)[1]
    assert len(counts) == 100
    assert np.abs(counts - 200).max() < 5 * 200**0.5


def test_a_reservoir_goes_on_where_it_was_saved():
    first = Reservoir(20, seed=3)
    first.add([torch.arange(15)])
    second = Reservoir(20)
    set_state(second, deepcopy(get_state(first)))
    for each in (first, second):
        each.add([torch.arange(15, 90)])
    assert torch.equal(first.columns[0], second.columns[0])
    assert torch.equal(first.sample(9)[0], second.sample(9)[0])


def test_the_average_policy_is_the_average_in_sequence_form():
    """In each seat of Kuhn poker two networks play a third one, three games of the first to one of the second. A policy
    fitted to a reservoir of their decisions plays the strategy whose realization plan is the mean of theirs, not the
    mean of their strategies.
    """
    game, spec = OpenSpiel("kuhn_poker"), MLPSpec(hidden=(32,))
    torch.manual_seed(6)
    first, second, other = (spec.profile(game) for _ in range(3))
    with torch.no_grad():
        for weights in (each for profile in (first, second, other) for each in profile[0].parameters()):
            weights.add_(0.3 * torch.randn_like(weights))
    average = spec.profile(game)
    learner = AveragePolicy(average[0], range(2), game.actions, Reservoir(100_000))
    streams = [Stream(game, derive_seeds(seat, 1000)) for seat in range(2)]
    for profile in 3 * [first, first, second, first]:
        pairs = [profile[0], other[1]], [other[0], profile[1]]
        learner.add([stream.play(pair, 30)[0] for stream, pair in zip(streams, pairs, strict=True)])
    for learning_rate in (0.01, 0.001):
        learner.fit(100, 4096, learning_rate)
    members = [list(each) for each in zip(first, second, strict=True)]
    expected = extract_strategy(game, mix_members(members, [(0.75, 0.25)] * 2))
    naive = 0.75 * extract_strategy(game, first) + 0.25 * extract_strategy(game, second)
    np.testing.assert_allclose(extract_strategy(game, average), expected, atol=0.05)
    assert np.abs(naive - expected).max() > 0.1


def test_an_average_learns_the_statistics_by_which_it_normalises_observations():
    game, spec = OpenSpiel("kuhn_poker"), MLPSpec(hidden=(8,), normalise_observations=True)
    (policy,) = set(spec.profile(game))
    learner = AveragePolicy(policy, range(2), game.actions, Reservoir(100))
    learner.add([Stream(game, derive_seeds(0, 20)).play([policy] * 2, 10)[0]])
    learner.fit(3, 32, 0.01)
    assert policy.network.normaliser.moments.weight == 3 * 32


def test_a_seat_that_has_decided_nothing_has_no_average_yet():
    """With one decision in an iteration, the second player of Kuhn poker acts in the second iteration for the first
    time.
    """
    words = ["game=kuhn_poker", "solver=nfsp", "policy=network", "policy.hidden=[4]", "policy.shared=false"]
    made = build(compose_config("train", [*words, "responder.num_envs=2", "responder.rollout_length=1"]))
    seen = []
    for progress in islice(made.solver.solve(made.profile, made.responder), 2):
        assert progress.metrics["loss/average"] > 0
        seen.append([len(each.reservoir) for each in made.solver.learner.averages])
    assert seen == [[2, 0], [2, 2]]


def test_a_solver_that_copies_its_responder_is_not_averaged():
    game, spec = OpenSpiel("kuhn_poker"), MLPSpec(hidden=(4,))
    responder = PPO(game, spec, num_envs=2)
    for solver in (NFSP(), League(), ReservoirAverage(SelfPlay())):
        with pytest.raises(ValueError, match=f"^solver.solver={type(solver).__name__} learns by copies"):
            ReservoirAverage(solver).solve(spec.profile(game), responder)


@pytest.mark.parametrize(
    ("solver", "sentence"),
    [
        ("nfsp", "TablePolicy does not learn from these; use policy=network"),
        ("reservoir_average", "TablePolicy does not learn from these; use policy=network"),
        ("league", "a responder that plays games, such as responder=ippo with policy=network"),
    ],
)
def test_a_refusal_names_all_that_has_to_change(solver, sentence):
    """With the policy comes the responder."""
    with pytest.raises(Refused, match=sentence):
        build(compose_config("train", ["game=kuhn_poker", f"solver={solver}"]))
    build(compose_config("train", ["game=kuhn_poker", f"solver={solver}", "policy=network", "responder.num_envs=2"]))
