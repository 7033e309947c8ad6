"""Learners that do not depend on each other learn in workers as they do in one process, also over a stop."""

from copy import deepcopy
from itertools import islice

import pytest
import torch

from games.normal_form import MatrixGame
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.responders.learners import learner
from marl_engine.responders.ppo import PPO
from marl_engine.runners import LOCAL, ProcessRunner
from marl_engine.runners.resident import is_worker
from solvers.populations import JPSRO, PSRO, League, PipelinePSRO
from solvers.zero_shot import FictitiousCoPlay

SOLVERS = {
    "psro": lambda: PSRO(games=4, draws=5, oracle_steps=2),
    "jpsro": lambda: JPSRO("ce", games=4, draws=5),
    "pipeline_psro": lambda: PipelinePSRO(active=2, patience=1, games=4, draws=5),
    "league": lambda: League(generation=1, games=4, patience=1),
    "fcp": lambda: FictitiousCoPlay(pairs=3, pair_steps=3),
}
ITERATIONS, STOP = 4, 2


@pytest.fixture(scope="module")
def two():
    return ProcessRunner(2)


class Part:
    """A solver with its profile and responder, of which a checkpoint is made."""

    def __init__(self, name, runner):
        torch.manual_seed(0)
        game, network = MatrixGame("matching_pennies"), MLPSpec(hidden=(8,))
        settings = {"num_envs": 8, "rollout_length": 4, "minibatches": 2, "epochs": 2, "learning_rate": 0.02}
        self.profile, self.solver, self.runner = network.profile(game), SOLVERS[name](), runner
        self.responder = PPO(game, network, runner=runner, **settings)

    def advance(self, after, iterations):
        """Returns the metrics and steps of some iterations, without times."""
        steps = self.solver.solve(self.profile, self.responder, self.runner, after)
        metrics = [step.metrics | {"steps": step.work["steps"]} for step in islice(steps, iterations)]
        return [{name: each for name, each in row.items() if "seconds" not in name} for row in metrics]

    def save(self):
        self.responder.prepare(self.profile)
        parts = profile_state(self.profile), get_state(self.responder), get_state(self.solver), torch.get_rng_state()
        return deepcopy(parts)

    def restore(self, profile, responder, solver, random):
        load_profile_state(self.profile, profile)
        self.responder.prepare(self.profile)
        set_state(self.responder, responder)
        set_state(self.solver, solver)
        torch.set_rng_state(random)


@pytest.mark.parametrize("name", SOLVERS)
def test_learners_in_workers_have_the_bits_of_those_here_also_if_the_run_is_resumed(name, two, monkeypatch):
    local = Part(name, LOCAL)
    reference = local.advance(0, ITERATIONS)
    monkeypatch.setattr(learner, "train_learner", in_worker)
    first, second = Part(name, two), Part(name, two)
    metrics = first.advance(0, STOP)
    second.restore(*first.save())
    metrics += second.advance(STOP, ITERATIONS - STOP)
    assert metrics == reference
    ours, theirs = (each.profile[0].state_dict() for each in (second, local))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def in_worker(training):
    """Trains a learner, which must be in another process than the run."""
    assert is_worker()
    return learner.train_learner(training)
