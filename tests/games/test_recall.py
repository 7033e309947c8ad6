"""Recall: a cue, and a choice ten turns later."""

from itertools import islice

import pytest
import torch

from games.recall import Recall
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.rollout import score
from marl_engine.runs.factory import build

SMALL = ["policy.hidden=[32]", "responder.learning_rate=0.005", "responder.num_envs=32", "responder.entropy_bonus=0.01"]


def test_a_game_is_a_cue_a_delay_and_a_choice():
    game = Recall(delay=3, actions=4)
    turn = game.reset(derive_seeds(0, 400))
    cue = turn.observation[..., :4].argmax(-1)
    assert (turn.observation.sum(-1) == 1).all()
    assert (torch.bincount(cue.flatten(), minlength=4) - 200).abs().max() < 50  # standard deviation 12
    for _ in range(2):
        turn = game.step(cue)
        assert not turn.observation.any()
        assert not turn.reward.any()
    turn = game.step(cue)
    assert (turn.observation == torch.tensor([0.0, 0, 0, 0, 1])).all()
    choice = torch.stack([cue[:, 0], (cue[:, 1] + 1) % 4], dim=1)
    turn = game.step(choice)
    assert turn.done.all()
    assert (turn.reward == torch.tensor([1.0, 0.0])).all()
    assert (turn.observation[..., :4].argmax(-1) != cue).any()  # the next game has cues of its own


@pytest.mark.parametrize("policy", ["gru", "network"])
def test_only_a_policy_that_remembers_recalls(policy):
    """With memory each seat is right in 95 games of 100; without, it guesses between two."""
    units = [] if policy == "network" else ["policy.units=32"]
    components = build(compose_config("train", ["game=recall", f"policy={policy}", *SMALL, *units]))
    for _ in islice(components.solver.solve(components.profile, components.responder), 12):
        pass
    returns = score(components.game, components.profile, derive_seeds(7, 1000)).mean(0)
    assert (returns <= 0.55).all() if policy == "network" else (returns >= 0.95).all()
