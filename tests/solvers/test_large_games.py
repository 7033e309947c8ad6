"""Solvers of games that no table holds: each learns by play alone, and is evaluated by games and by responses."""

from itertools import islice

import pytest
import torch

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.configuration import instantiate
from marl_engine.evaluation.best_response import bound_exploitability
from marl_engine.runs.factory import build, make_responder

SMALL = (
    *("policy.hidden=[8]", "responder.num_envs=8", "responder.rollout_length=16", "responder.epochs=1", "episodes=16"),
    "responder.minibatches=1",
)
SOLVERS = {
    "self_play": (),
    "mmd": (),
    "nash_md": (),
    "mirror_prox": (),
    "r_nad": (),
    "inpo": (),
    "nfsp": ("solver.batch=32", "solver.reservoir=500"),
    "reservoir_average": ("solver.batch=32", "solver.reservoir=500"),
    "psro": ("solver.oracle_steps=2", "solver.games=8", "solver.meta=uniform"),  # all members are played
}


def begin(solver, *keys):
    return compose_config("train", ["game=openspiel_states", f"solver={solver}", "steps=100_000", *SMALL, *keys])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_learns_phantom_tic_tac_toe_by_play(solver):
    """Its result plays otherwise than before, and returns of the two seats sum to zero."""
    made = build(begin(solver, *SOLVERS[solver]))
    assert made.responder.form is None
    turn = made.game.reset(torch.arange(4))
    rows = turn.observation[:, 0], torch.zeros(4, dtype=torch.int64)

    @torch.no_grad()
    def probabilities(profile):
        return profile[0](profile[0].encode(*rows), turn.legal[:, 0])[0].log_probs.exp()

    before = probabilities(made.profile)
    *_, progress = islice(made.solver.solve(made.profile, made.responder, made.runner), 2)
    assert not torch.allclose(probabilities(made.profile), before)
    assert "nash_conv" not in progress.metrics
    report = made.evaluator.evaluate(made.profile)
    assert report.metrics["return/0"] == pytest.approx(-report.metrics["return/1"], abs=1e-6)


def test_the_gain_of_a_learned_response_is_reported_with_its_budget():
    config = begin("nfsp", *SOLVERS["nfsp"])
    made = build(config)
    next(made.solver.solve(made.profile, made.responder))
    spec = instantiate("policy", config["policy"])
    responder = make_responder(config["responder"], made.game, spec, seed=1, device="cpu")
    bound = bound_exploitability(responder, made.profile, steps=500, episodes=32)
    assert bound.steps == 512
    assert "at least" in str(bound)
    assert "512 steps" in str(bound)
