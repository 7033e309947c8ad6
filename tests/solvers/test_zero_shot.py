"""Partners for strangers: pairs and their checkpoints, population entropy, mistakes, and matchmaking of a league."""

from itertools import islice
from unittest.mock import patch

import numpy as np
import pytest
import torch

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mixtures.noisy import add_noise, split_noise
from marl_engine.policies.weights import weights_equal
from marl_engine.rollout.likelihood import action_log_probs
from marl_engine.rollout.rollout import play, score
from marl_engine.runs.factory import build
from solvers.populations.matchmaking import WinRates, count_wins, f_hard, f_var, prioritise
from solvers.zero_shot.maximum_entropy import add_entropy
from solvers.zero_shot.partners import Pair, choose_half

TINY = ("policy.units=16", "policy.hidden=[16]", "responder.num_envs=16", "responder.rollout_length=10")
PAIRS = ("solver.pairs=2", "solver.pair_steps=3")


def make(*keys):
    """Returns the components of a small run in the convention game."""
    return build(compose_config("train", ["game=convention", *TINY, *keys]))


def advance(components, iterations):
    """Runs a solver; returns what it yielded."""
    return list(islice(components.solver.solve(components.profile, components.responder), iterations))


def test_f_hard_never_picks_members_that_are_always_beaten():
    rates = np.array([1.0, 0.5, 0.0])
    np.testing.assert_allclose(f_hard(rates), [0, 0.25, 1])
    np.testing.assert_allclose(prioritise(rates, f_hard), [0, 0.2, 0.8])
    np.testing.assert_allclose(f_hard(rates, power=1), [0, 0.5, 1])


def test_f_var_prefers_equals():
    rates = np.array([1.0, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(f_var(rates), [0, 0.25, 0.1875, 0])
    np.testing.assert_allclose(prioritise(rates, f_var), [0, 4 / 7, 3 / 7, 0])
    np.testing.assert_allclose(prioritise(np.array([1.0, 0.0]), f_var), [0.5, 0.5])


def test_win_rates_begin_at_a_half_and_forget():
    rates = WinRates(decay=0.5)
    rates.record([1.0])
    np.testing.assert_allclose(rates.rates(), [0.75])  # (1 + 1/2) / (1 + 1)
    rates.record([0.0, 0.5])
    np.testing.assert_allclose(rates.rates(), [1.0 / 2.5, 0.5])  # (1/2 + 1/2) / (1/2 + 1 + 1)
    rates.record([1.0], first=2)
    np.testing.assert_allclose(rates.rates(), [1.0 / 2.5, 0.5, 0.75])  # the others are as they were
    payoffs = [torch.tensor([[1.0, -1.0], [1.0, -1.0]]), torch.tensor([[0.0, 0.0], [2.0, -2.0]])]
    assert count_wins(payoffs) == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_the_checkpoint_in_between_earns_half_as_much():
    assert choose_half([0.0, 1.0, 4.0, 9.0, 10.0]) == 2
    assert choose_half([-4.0, -3.0, 0.0, 2.0]) == 2
    assert choose_half([5.0]) == 0
    assert choose_half([-9.0, np.nan, -6.0, 3.0]) == 2  # what a checkpoint earned whose games had not ended is unknown
    assert choose_half([np.nan, np.nan]) == 0


def test_pairs_of_different_numbers_differ_and_keep_their_beginning():
    components = make()
    first, second, same = (Pair(components.responder, number, 3) for number in (0, 1, 0))
    assert not weights_equal(first.learner.profile[0], second.learner.profile[0])
    for pair in (first, same):
        while not pair.is_trained:
            pair.learn()
    initial, _, final = first.checkpoints()
    assert weights_equal(initial[0], Pair(components.responder, 0, 3).learner.profile[0])
    assert weights_equal(final[0], first.learner.profile[0])
    assert weights_equal(final[0], same.learner.profile[0])  # a learner is a function of seed and number
    assert not weights_equal(initial[0], final[0])


def test_the_schedules_of_pairs_have_a_length_of_their_own():
    responder = make("responder.learning_rate={start: 1.0, end: 0.0, over: 100}", "responder.shaping=0.5").responder
    own = Pair(responder, 0, 3, pace=0.5).learner.responder.schedules
    assert (own["learning_rate"].at(25), responder.schedules["learning_rate"].at(25)) == (0.5, 0.75)
    assert own["shaping"].at(25) == 0.5  # constants have no length


def test_fictitious_coplay_trains_pairs_and_then_the_profile_with_their_checkpoints():
    components = make("solver=fcp", *PAIRS)
    start = [each.clone() for each in components.profile[0].parameters()]
    record = advance(components, 3)
    assert [step.metrics["pairs"] for step in record] == [2, 2, 2]
    assert [step.work["steps"] for step in record] == [320, 320, 320]  # 2 pairs of 16 games, 10 steps of each
    assert all(torch.equal(*each) for each in zip(start, components.profile[0].parameters(), strict=True))
    assert [len(each) for each in components.solver.population.members] == [6, 6]
    (step,) = islice(components.solver.solve(components.profile, components.responder, after=3), 1)
    assert step.metrics["members"] == 6
    assert not all(torch.equal(*each) for each in zip(start, components.profile[0].parameters(), strict=True))


def test_the_best_response_may_start_as_the_pair_that_earns_most():
    components = make("solver=fcp", *PAIRS, "solver.start=best")
    solver, stages = components.solver, components.solver.solve(components.profile, components.responder)
    next(stages)
    pairs = solver.team
    list(islice(stages, 2))
    best = max(pairs, key=lambda pair: pair.latest)
    assert pairs[0].latest != pairs[1].latest
    assert weights_equal(components.profile[0], best.learner.profile[0])
    next(stages)
    assert not weights_equal(components.profile[0], best.learner.profile[0])  # it learns, and the pair does not
    with pytest.raises(Refused, match=r"solver\.start must be one of new, best"):
        make("solver=fcp", "solver.start=last")


def test_fictitious_coplay_is_refused_without_play():
    with pytest.raises(Refused, match="needs a responder that plays games"):
        build(compose_config("train", ["game=kuhn_poker", "policy=table", "responder=exact", "solver=fcp"]))


def test_the_entropy_of_a_population_of_equals_is_that_of_its_members():
    """For N equal teams it is -log pi(a | s); two that never choose alike add log 2 to that of one."""
    components = make()
    seeds = derive_seeds(0, 5)
    turn = components.game.reset(seeds)
    trajectory, _, _ = play(components.game, components.profile, turn, seeds, 0, 10)
    rewards = add_entropy(trajectory, [components.profile] * 3, 2.0)
    with torch.no_grad():
        likely = torch.stack([action_log_probs(components.profile[0], trajectory, seat) for seat in (0, 1)], dim=-1)
    torch.testing.assert_close(rewards, trajectory.reward - 2 * likely)


def test_a_partner_with_mistakes_takes_any_legal_action_now_and_then():
    components = make()
    policy, noisy = components.profile[0], add_noise(components.profile, 0.3)
    assert noisy[0] is noisy[1]
    turn = components.game.reset(derive_seeds(0, 4))
    legal = turn.legal[:, 0].clone()
    legal[:, 0] = False
    rows = policy.encode(turn.observation[:, 0], torch.zeros(4, dtype=torch.int64))
    plain, mixed = (each(rows, legal)[0].log_probs.exp() for each in (policy, noisy[0]))
    torch.testing.assert_close(mixed, 0.7 * plain + 0.3 * legal / 4)


@pytest.mark.parametrize("kind", ["network", "gru"])
def test_a_policy_and_its_noisy_version_are_asked_together(kind):
    """In play each seat has the log-probabilities that its own policy gives; noise on noise adds up."""
    keys = TINY if kind == "gru" else TINY[1:]
    components = build(compose_config("train", ["game=convention", f"policy={kind}", *keys]))
    plain, seeds = components.profile[0], derive_seeds(0, 5)
    noisy = add_noise(add_noise([plain], 0.2), 0.25)[0]
    assert split_noise(noisy) == (plain, pytest.approx(0.4))
    profile, turn = [plain, noisy], components.game.reset(seeds)
    trajectory, _, _ = play(components.game, profile, turn, seeds, 0, 5)
    memories = [each.initial_memory(5) for each in profile]
    for now in range(5):
        for seat, own in enumerate(profile):
            rows = own.encode(trajectory.observation[now, :, seat], torch.full((5,), seat))
            with torch.no_grad():
                distribution, memories[seat] = own(rows, None, memories[seat])
            chosen = distribution.log_probs.gather(1, trajectory.action[now, :, seat, None])[:, 0]
            torch.testing.assert_close(trajectory.log_prob[now, :, seat], chosen)


def test_mistakes_become_rare_and_end_in_self_play():
    """Each seat learns from games of its own beside a partner with mistakes, and all from the same games without."""
    components = make("solver=e3t", "solver.noise={start:0.4,end:0,over:640}")
    record = advance(components, 4)
    assert [step.metrics["noise"] for step in record] == pytest.approx([0.4, 0.2, 0, 0])
    assert [step.work["steps"] for step in record] == [320, 320, 160, 160]


def test_a_partner_who_only_makes_mistakes_is_refused():
    with pytest.raises(Refused, match=r"solver\.noise must be below 1 all the time"):
        make("solver=e3t", "solver.noise={start:1,end:0,over:640}")


@pytest.mark.parametrize("solver", ["mep", "e3t"])
def test_partners_of_other_kinds_learn(solver):
    keys = PAIRS if solver == "mep" else ()
    components = make(f"solver={solver}", *keys)
    assert np.isfinite(advance(components, 7)[-1].metrics["return/mean"])
    assert 0 <= score(components.game, components.profile, derive_seeds(1, 4)).mean() <= 10


def make_league(*keys):
    """Returns the components of a small league in Kuhn poker."""
    keys = ("solver.generation=2", "solver.games=8", "responder.num_envs=8", *keys)
    return build(compose_config("train", ["game=kuhn_poker", "policy=network", "solver=league", *keys]))


def test_a_league_grows_by_mains_and_exploiters():
    components = make_league("solver.patience=1")
    record = advance(components, 5)
    league = components.solver
    assert league.kinds == [0, 0, 1, 2, 0, 1, 2]
    assert [step.metrics["members"] for step in record] == [1, 1, 4, 4, 7]
    assert [each.number for each in league.exploiters] == [4, 5]
    assert record[0].work["queries"] == 3 + 2  # the first member, and the main agent against each exploiter


def test_exploiters_have_as_many_generations_as_their_patience():
    """They join by what they win when a generation ends; those that win too little stay for `patience` generations."""
    components = make_league("solver.patience=2", "solver.beaten=1.0")
    league, record = components.solver, advance(components, 5)
    assert league.kinds == [0, 0, 0, 1, 2]
    assert [step.metrics["members"] for step in record] == [1, 1, 2, 2, 5]
    assert all(len(rates.wins) == 5 for rates in (league.rates, *(each.rates for each in league.exploiters)))


def test_an_exploiter_joins_by_the_win_rate_that_it_has_reached():
    """The main exploiter wins nothing until its first generation has ended, and everything from then on."""
    components = make_league("solver.patience=9", "solver.beaten=0.9", "solver.generation=1")
    league, won = components.solver, {"rate": 0.0}
    league_of = components.solver.solve(components.profile, components.responder)
    with patch("solvers.populations.league.count_wins", lambda payoffs: won["rate"]):
        next(league_of)
        won["rate"] = 1.0
        next(league_of)
    assert league.kinds == [0, 0, 1]
