"""Particle worlds: recorded episodes of mpe2 replay step for step, and plain controllers earn known returns.

`record_mpe_traces.py` describes the recording.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from games.mpe import ParticleWorlds
from games.mpe.world import CLOCK, GOALS
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.game_contract import random_actions
from marl_engine.types import Turn

RECORDED = np.load(Path(__file__).parents[1] / "fixtures" / "mpe_traces.npz")
CASES = json.loads(RECORDED["cases"].tobytes())
LANES = 3
EPISODES = 2000


def read_trace(case: str, lane: int) -> dict[str, torch.Tensor]:
    """Returns the arrays of a recorded episode."""
    prefix = f"{case}/{lane}/"
    return {name.removeprefix(prefix): torch.from_numpy(RECORDED[name]) for name in RECORDED.files if prefix in name}


def set_world(game: ParticleWorlds, start: torch.Tensor, goals: torch.Tensor) -> Turn:
    """Puts the entities of the only world at positions (E, 2), at rest, and sets its goals (2,)."""
    state = game.state()
    state["rows"].zero_()
    state["rows"][0, : start.numel()] = start.flatten()
    state["integers"][0, CLOCK], state["integers"][0, GOALS:] = 0, goals
    return game.restore(state)


def tell_contacts(case: str, lane: int) -> int:
    """Returns the number of steps of a recorded episode of simple_spread in which agents touched."""
    observations = read_trace(case, lane)["observations"]
    agents = observations.shape[1]
    offsets = observations[:, :, 4 + 2 * agents : 4 + 2 * agents + 2 * (agents - 1)].unflatten(-1, (-1, 2))
    return int((offsets.norm(dim=-1) < 0.3).any(-1).any(-1).sum())


@pytest.mark.parametrize("case", CASES)
def test_recorded_episodes_replay(case):
    """Observations, rewards, endings and last positions are those of mpe2, collisions included."""
    game = ParticleWorlds(**CASES[case])
    for lane in range(LANES):
        trace = read_trace(case, lane)
        turn = set_world(game, trace["start"], trace["goals"])
        for time, actions in enumerate(trace["actions"]):
            torch.testing.assert_close(turn.observation[0], trace["observations"][time], atol=1e-6, rtol=0)
            turn = game.step(actions[None])
            torch.testing.assert_close(turn.reward[0].double(), trace["rewards"][time], atol=1e-6, rtol=1e-6)
            assert bool(turn.done) == (time == len(trace["actions"]) - 1)
        torch.testing.assert_close(turn.final[0], trace["observations"][-1], atol=1e-6, rtol=0)
        assert bool(turn.truncated) == bool(trace["truncated"])


def test_recorded_episodes_have_contacts():
    """Otherwise they would not show the contact forces."""
    assert sum(tell_contacts("spread_crowd", lane) for lane in range(LANES)) > 20
    assert {bool(read_trace("spread_success", lane)["truncated"]) for lane in range(LANES)} == {False}


@pytest.mark.parametrize("scenario", ["simple_spread", "simple_reference"])
def test_episodes_are_functions_of_seed_and_number(scenario):
    """Episodes of a copy differ, and neither depend on actions nor on what is played beside it."""
    openings = []
    for copies in (3, 1):
        game = ParticleWorlds(scenario, max_cycles=4)
        turn = game.reset(torch.tensor([7, -5, 2**62])[:copies])
        seen = [turn.observation[0]]
        for number in range(8):
            turn = game.step(random_actions(game, turn, number + copies))
            if turn.done.any():
                seen.append(turn.observation[0])
        openings.append(torch.stack(seen))
    torch.testing.assert_close(*openings, atol=0, rtol=0)
    assert len(openings[0].unique(dim=0)) == 3


def test_openings_fill_the_square():
    """First positions of all entities are uniform; goals are drawn evenly, for both seats."""
    state = (game := ParticleWorlds("simple_reference")) and game.reset(derive_seeds(3, EPISODES)) and game.state()
    positions = state["rows"][:, :10]
    assert positions.abs().max() <= 1
    torch.testing.assert_close(positions.mean(0), torch.zeros(10).double(), atol=0.06, rtol=0)
    torch.testing.assert_close(positions.var(0), torch.full((10,), 1 / 3).double(), atol=0.03, rtol=0)
    goals = state["integers"][:, GOALS:]
    counts = (3 * goals[:, 0] + goals[:, 1]).bincount(minlength=9)
    torch.testing.assert_close(counts / EPISODES, torch.full((9,), 1 / 9), atol=0.03, rtol=0)


def go_to(observation: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """Returns actions (B, P) that bring each agent to its landmark (B, P), with its velocity taken into account."""
    offsets = observation[..., 4:10].unflatten(-1, (3, 2))
    offset = offsets.gather(2, landmarks[..., None, None].expand(-1, -1, 1, 2))[:, :, 0] - 0.4 * observation[..., :2]
    size, axis = offset.abs().max(-1)
    forward = offset.gather(-1, axis[..., None])[..., 0] > 0
    return torch.where(size < 0.05, 0, 1 + 2 * axis + forward)


def assign(observation: torch.Tensor) -> torch.Tensor:
    """Returns the assignment (B, P) of landmarks with the smallest sum of distances."""
    distances = observation[..., 4:10].unflatten(-1, (3, 2)).norm(dim=-1).numpy()
    return torch.stack([torch.from_numpy(linear_sum_assignment(each)[1]) for each in distances])


@pytest.mark.parametrize(("controller", "expected"), [("random", -27.3), ("fixed", -11.95), ("hungarian", -8.5)])
def test_plain_controllers_of_simple_spread(controller, expected):
    """The mean return of an agent, which was measured with mpe2, within 4 %."""
    game = ParticleWorlds()
    turn = game.reset(derive_seeds(1, EPISODES))
    landmarks = torch.arange(3).expand(EPISODES, 3)
    if controller == "hungarian":
        landmarks = assign(turn.observation)
    earned = torch.zeros(EPISODES, 3)
    for number in range(25):
        actions = random_actions(game, turn, number) if controller == "random" else go_to(turn.observation, landmarks)
        turn = game.step(actions)
        earned += turn.reward
    assert turn.truncated.all()
    assert earned.mean().item() == pytest.approx(expected, rel=0.04)


def test_unequal_seats_are_padded():
    """A speaker has 3 actions and 3 features, a listener 5 and 11; hunters observe the prey's velocity too."""
    game = ParticleWorlds("simple_speaker_listener")
    turn = game.reset(derive_seeds(0, 4))
    assert turn.legal[0].sum(-1).tolist() == [3, 5]
    assert not turn.observation[:, 0, 3:].any()
    assert game.spaces.groups == (0, 1)
    with pytest.raises(ValueError, match=r"\[3, 5\]"):
        game.step(torch.full((4, 2), 3))
    tag = ParticleWorlds("simple_tag", num_good=2)
    assert tag.spaces.groups == (0, 0, 0, 1, 1)
    assert tag.observation_shape == (4 + 2 * 2 + 2 * 4 + 2 * 2,)
    assert ParticleWorlds().spaces.groups == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "simple_spred"}, "simple_spread"),
        ({"scenario": "simple_tag", "N": 3}, "num_good"),
        ({"N": 0}, "1 or more"),
        ({"local_ratio": 2.0}, "at most 1"),
        ({"max_cycles": 0}, "1 or more"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(Refused, match=message):
        ParticleWorlds(**options)


def test_pictures_show_agents_where_they_are():
    """An agent in the middle of the picture, and the message of a speaker."""
    game = ParticleWorlds("simple_tag", num_good=1, num_adversaries=1, num_obstacles=0)
    set_world(game, torch.tensor([[0.0, 0.0], [0.75, 0.75]]).double(), torch.zeros(2))
    picture = game.render(caption="a caption")
    assert picture.shape == (450, 420, 3)
    assert picture.dtype == np.uint8
    assert picture[210, 210].argmax() == 0  # a red hunter
    assert picture[105, 315].argmax() == 1  # the green prey, up and to the right
    speaker = ParticleWorlds("simple_speaker_listener")
    speaker.reset(derive_seeds(0, 1))
    silent = speaker.render(caption=" ")
    speaker.step(torch.tensor([[1, 0]]))
    assert (speaker.render(caption=" ") != silent).any()
