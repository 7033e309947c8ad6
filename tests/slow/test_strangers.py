"""Fictitious co-play learns to coordinate with strangers in the convention game, where pairs of self-play do not."""

from itertools import islice

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.evaluation.coordination import cross_play_matrix, strangers_mean
from marl_engine.numerics.rng import derive_seeds
from marl_engine.runners import LOCAL
from marl_engine.runs.factory import build
from solvers.zero_shot.partners import SKILLS, Pair

BOUND = 9.0  # returns of one who copies the last label of a partner that keeps to one
BEST_RESPONSE, STRANGERS = 15, 6  # iterations; pairs of another seed


def test_fictitious_coplay_coordinates_with_strangers():
    ours, theirs = (
        build(compose_config("train", ["game=convention", "solver=fcp", f"seed={seed}"])) for seed in (1, 2)
    )
    solver, game = ours.solver, ours.game
    for _ in islice(solver.solve(ours.profile, ours.responder), solver.pair_steps + BEST_RESPONSE):
        pass
    strangers = [Pair(theirs.responder, number, solver.pair_steps) for number in range(STRANGERS)]
    for pair in strangers:
        while not pair.is_trained:
            pair.learn()
    others = [pair.learner.profile for pair in strangers]
    pairs = [list(pair) for pair in solver.population.opponents().members[SKILLS - 1 :: SKILLS]][:STRANGERS]
    seeds = derive_seeds(2**41, 16)
    assert cross_play_matrix(LOCAL, game, [ours.profile], others, seeds).mean() >= 0.8 * BOUND
    assert strangers_mean(cross_play_matrix(LOCAL, game, pairs, pairs, seeds)) <= 0.3 * BOUND
