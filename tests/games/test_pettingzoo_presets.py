"""Each preset of a PettingZoo environment makes it, and learns in it."""

import re
import sys
import warnings
from math import isfinite

import gymnasium
import pytest
import torch
from settings import FOREIGN

from games.pettingzoo import names
from games.pettingzoo.copies import episode_seed
from games.pettingzoo.game import PettingZoo
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Notice, Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.game_contract import random_actions
from marl_engine.runs.factory import build

SMALL = ("game.workers=0", "responder.num_envs=2", "responder.rollout_length=8", "responder.epochs=1")
SEATS = {
    "cooperative_pong": 2,
    "knights_archers_zombies": 4,
    "lbforaging": 2,
    "multiwalker": 3,
    "pistonball": 20,
    "pursuit": 8,
    "simple_spread": 3,
    "simple_tag": 4,
}
PRESETS = [name for name in FOREIGN if name.startswith("pettingzoo/")]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_starts_and_learns(name):
    run = build(compose_config("train", [f"game={name}", *SMALL]))
    assert run.game.players == SEATS.get(name.rpartition("/")[2], 2)
    steps = run.solver.solve(run.profile, run.responder, after=0)
    for _ in range(2):
        assert all(isfinite(number) for number in next(steps).metrics.values())


def test_an_environment_is_played_with_its_own_settings():
    assert sorted(f"pettingzoo/{name.rpartition('.')[2]}" for name in names.PRESETS) == sorted(PRESETS)
    with pytest.warns(
        Notice, match=r"classic/tictactoe has settings of its own; so it is .* game=pettingzoo/tictactoe"
    ):
        config = compose_config("train", ["game=pettingzoo", "game.env=classic/tictactoe", "steps=5"])
    assert (config["steps"], config["responder"]["payoff_scale"]) == (5, 1.0)
    for words in (["game=pettingzoo/tictactoe"], ["game=pettingzoo", "game.env=foreign_worlds:Relay"]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compose_config("train", words)


@pytest.mark.parametrize(
    ("env", "preset"),
    [
        ("simple_spread", "pettingzoo/simple_spread"),
        ("mpe2/simple_spread-v3", "pettingzoo/simple_spread"),
        ("lbforaging.Foraging-5x5-2p-1f-coop-v3", "pettingzoo/lbforaging"),
        ("my_package.simple_spread", None),
        ("my_package:simple_spread", None),
        ("mpe2.simple_spread_v9", None),
        ("lbforaging.Foraging-8x8-2p-2f-cop-v3", None),
        ("mpe2.simple_push_v3", None),
    ],
)
def test_only_environments_that_exist_have_settings_of_their_own(env, preset):
    assert names.preset_of(env) == preset


def test_pictures_are_shown_with_fewer_pixels():
    game, whole = (PettingZoo("cooperative_pong", {"max_cycles": 5}, pixels=each, workers=0) for each in (7, None))
    small, large = (each.reset(derive_seeds(0, 1)).observation for each in (game, whole))
    assert (tuple(small.shape), small.dtype) == ((1, 2, 40, 69, 3), torch.float32)
    torch.testing.assert_close(small, large[:, :, ::7, ::7] / 255)
    with pytest.raises(Refused, match=r"game.pixels is for pictures, "):
        PettingZoo("mpe2.simple_v3", pixels=2, workers=0)


@pytest.mark.parametrize("env", ["lbforaging.Foraging-5x5-2p-1f-coop-v3", "rware.rware-tiny-2ag-v2"])
def test_an_episode_of_a_team_depends_on_its_seed_only(env):
    """Not on the one before, in which the same cells were taken; otherwise resumed runs would start it anew."""
    game = PettingZoo(env, workers=0)
    first, again = (game.reset(derive_seeds(0, 4)).observation for _ in range(2))
    assert torch.equal(first, again)


def test_a_team_of_gymnasium_is_the_same_as_in_gymnasium():
    """Two agents in a small field forage until the time is up; rewards of an agent are those of its own actions."""
    game = PettingZoo("lbforaging.Foraging-5x5-2p-1f-coop-v3", workers=0)
    turn = game.reset(derive_seeds(0, 1))
    env = gymnasium.make("Foraging-5x5-2p-1f-coop-v3", disable_env_checker=True)
    seen, _ = env.reset(seed=episode_seed(int(game.seeds[0]), 0))
    earned, over = 0.0, False
    for step in range(60):
        assert [row.tolist() for row in turn.observation[0].numpy()] == [each.tolist() for each in seen]
        actions = random_actions(game, turn, step)
        turn = game.step(actions)
        seen, rewards, over, cut, _ = env.step(actions[0].tolist())
        assert turn.reward[0].tolist() == pytest.approx(rewards)
        earned += sum(rewards)
        if over or cut:
            break
    assert turn.done.item() == over
    assert turn.truncated.item() == cut


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ("lbforaging.Foraging-8x8-2p-2f-cop-v3", r"choose from lbforaging.Foraging-8x8-2p-2f-coop-v3, "),
        ("rware/rware-tinny-2ag-v2", r"choose from rware.rware-tiny-2ag-v2, "),
        ("pettingzoo.sisl.pursuit_v4", r"choose from pettingzoo.sisl.pursuit_v5, "),
    ],
)
def test_near_matches(env, sentence):
    with pytest.raises(Refused, match=sentence):
        PettingZoo(env, workers=0)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("butterfly/knights_archers_zombies", "pygame", "marl_engine[butterfly]"),
        ("butterfly/pistonball", "pymunk", "marl_engine[butterfly]"),
        ("sisl/multiwalker", "Box2D", "marl_engine[sisl]"),
        ("atari/pong", "multi_agent_ale_py", "pettingzoo[atari]"),
        ("pettingzoo.atari.pong_v3", "multi_agent_ale_py", "pettingzoo[atari]"),
        ("rware.rware-tiny-2ag-v2", "", "marl_engine[rware]"),
        ("lbforaging.Foraging-8x8-2p-2f-coop-v3", "", "marl_engine[lbforaging]"),
    ],
)
def test_a_missing_extra_is_refused_with_the_line_that_installs_it(name, module, extra, monkeypatch):
    if module:
        families = ("pettingzoo.butterfly", "pettingzoo.sisl", "pettingzoo.atari")
        for each in [each for each in sys.modules if each.startswith(families)]:
            monkeypatch.delitem(sys.modules, each)
        monkeypatch.setitem(sys.modules, module, None)  # cannot be imported, whether it is installed or not
    else:
        monkeypatch.setattr(names, "find_root", lambda name: None)
    with pytest.raises(Refused, match=f"; get it with pip install '{re.escape(extra)}'$"):
        PettingZoo(name, workers=0)
