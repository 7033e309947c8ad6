"""PettingZoo environments as games: what agents see, earn and may do is what PettingZoo says."""

import re
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from command_runs import marl_train
from foreign_worlds import Mixed

from games.pettingzoo import pace
from games.pettingzoo.copies import episode_seed
from games.pettingzoo.failures import Losses
from games.pettingzoo.game import PettingZoo
from marl_engine.errors import Halted, Notice, Refused
from marl_engine.losses.gae import gae
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.collation import unknown_endings
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.game_contract import check_game, random_actions
from marl_engine.rollout.rollout import play

MOVES = [1, 2, 0, 0, 1, 1]  # of runners 0, 1 (who leaves), 2, 0, 2, 0
EARNED = [[10, 1, 1], [2, 10, 2], [0, 0, 10], [10, 0, 0], [1, 0, 10], [10, 0, 1]]


def play_relay(limit=6, name="foreign_worlds:Relay", **keys):
    """The turns of one relay in which MOVES are made."""
    game = PettingZoo(name, {"limit": limit, **keys}, workers=0)
    turns = [game.reset(torch.tensor([3]))]
    turns += [game.step(torch.full((1, 3), move)) for move in MOVES[:limit]]
    return game, turns


def test_rewards_arise_also_between_an_agents_turns():
    _, turns = play_relay()
    assert [turn.reward[0].tolist() for turn in turns[1:]] == EARNED
    assert [turn.acting[0].tolist().index(True) for turn in turns] == [0, 1, 2, 0, 2, 0, 0]
    assert [turn.alive[0].tolist() for turn in turns[:3]] == [[True] * 3, [True] * 3, [True, False, True]]
    assert [turn.legal[0, :, 2].tolist() for turn in turns[:4]] == [
        [False, True, True],  # seats that do not act have no mask
        [True, True, True],
        [True, True, False],
        [True, True, True],
    ]
    assert turns[4].observation[0].tolist() == [[3, 1], [1, 0], [4, 1]]  # of each runner's last turn
    assert all(turn.final is None for turn in turns[:-1])


def test_a_time_limit_is_no_end_by_the_rules():
    _, turns = play_relay()
    assert [turn.done.item() for turn in turns] == [False] * 6 + [True]
    assert turns[-1].truncated.item()
    assert turns[-1].final[0].tolist() == [[5, 2], [1, 0], [6, 2]]
    assert turns[-1].final_acting[0].tolist() == [False, False, True]
    assert turns[-1].observation[0].tolist() == [[0, 0]] * 3
    assert turns[-1].alive.all()
    _, turns = play_relay(limit=99)
    assert not turns[-1].done.any()


def test_a_decision_is_credited_with_all_rewards_until_the_agents_next_one():
    """With V = 0 except for 5 at the end; the last decision of runner 0 is not learned from, since it waits."""
    game, turns = play_relay()
    before, after = turns[:-1], turns[1:]
    stack = lambda name, several: torch.stack([getattr(turn, name) for turn in several])  # noqa: E731
    advantage, known = gae(
        stack("reward", after),
        torch.zeros(6, 1, 3),
        stack("done", after),
        stack("acting", before),
        after=torch.zeros(1, 3),
        ending=torch.full((6, 1, 3), 5.0),
        alive=stack("alive", before),
        unknown=(stack("truncated", after)[..., None] & ~turns[-1].final_acting),
        discount=1.0,
        gae_lambda=1.0,
    )
    advantage, known = advantage[:, 0], known[:, 0]
    assert known.T.tolist() == [
        [True, False, False, True, False, False],
        [False, True, False, False, False, False],
        [False, False, True, False, True, False],
    ]
    assert advantage[:, 0].tolist() == [12 + 11, 0, 0, 11, 0, 0]
    assert advantage[:, 1].tolist() == [0, 10, 0, 0, 0, 0]
    assert advantage[:, 2].tolist() == [0, 0, 10 + 11 + 5, 0, 11 + 5, 0]
    seeds = derive_seeds(0, 4)
    trajectory, _, _ = play(game, MLPSpec(hidden=[8]).profile(game), game.reset(seeds), seeds, 0, 12)
    assert torch.equal(unknown_endings(trajectory, [0, 1, 2]).any(-1), trajectory.truncated)


def test_unequal_agents_are_padded_and_grouped():
    game = PettingZoo("foreign_worlds:Mixed", workers=0)
    assert game.spaces.groups == (0, 1, 1)
    assert (game.actions, game.spaces.action.branches, game.observation_shape) == (7, (4, 3), (4,))
    turn = game.reset(torch.tensor([0]))
    assert turn.observation[0].tolist() == [[1, 0, 0, 0], [0] * 4, [0] * 4]
    assert turn.legal[0].tolist() == [
        [True] * 5 + [False] * 2,
        [True, True, False, False, True, True, True],
        [True, True, False, False, True, True, True],
    ]
    assert turn.acting[0].tolist() == [True, True, False]  # the last one has not come yet
    turn = game.step(torch.tensor([[[3, 0], [1, 2], [0, 0]]]))
    assert turn.acting.all()
    assert turn.observation[0].tolist() == [[0, 1, 0, 0], [0.25] * 4, [0.25] * 4]
    game.step(torch.tensor([[[0, 0], [0, 1], [1, 0]]]))
    turn = game.step(torch.tensor([[[2, 0], [0, 0], [1, 1]]]))
    assert (turn.done.item(), turn.truncated.item()) == (True, False)
    (env,) = [each.driver.env for each in game.batch.copies]
    taken = [{agent: np.ravel(action).tolist() for agent, action in step.items()} for step in env.taken]
    assert taken == [
        {"one_0": [4], "two_0": [1, 2]},
        {"one_0": [1], "two_0": [0, 1], "two_1": [1, 0]},
        {"one_0": [3], "two_0": [0, 0], "two_1": [1, 1]},
    ]
    assert isinstance(env, Mixed)


@pytest.mark.parametrize("arguments", [{}, {"cut": True}])
def test_unequal_agents_learn(arguments):
    game = PettingZoo("foreign_worlds:Mixed", arguments, workers=0)
    responder = PPO(game, MLPSpec(hidden=[8]), num_envs=4, rollout_length=8, critic="joint")
    profile = MLPSpec(hidden=[8]).profile(game)
    assert len(set(profile)) == 2
    metrics = [responder.respond(profile).metrics for _ in range(2)]
    assert all(np.isfinite(number) for each in metrics for number in each.values())


def test_a_relay_satisfies_the_contract():
    game = PettingZoo("foreign_worlds:Relay", {"limit": 5}, workers=0)
    lines = list(check_game(game))
    assert len(lines) == 5
    assert "of them truncated" in lines[-1]


@pytest.mark.parametrize(
    ("name", "continuous"),
    [
        ("simple_spread_v3", False),
        ("simple_spread_v3", True),
        ("simple_speaker_listener_v4", False),
        ("simple_tag_v3", False),
    ],
)
def test_particle_worlds_are_those_of_parallel_env(name, continuous):
    """Two episodes of two copies, step for step and bit for bit."""
    from importlib import import_module

    arguments = {"max_cycles": 6, "continuous_actions": continuous}
    game, seeds = PettingZoo(f"mpe2.{name}", arguments, workers=0), torch.tensor([7, -3])
    turn, generator = game.reset(seeds), torch.Generator().manual_seed(0)
    envs = [import_module(f"mpe2.{name}").parallel_env(**arguments) for _ in seeds]
    for episode in range(2):
        seen = [env.reset(seed=episode_seed(int(seed), episode))[0] for env, seed in zip(envs, seeds, strict=True)]
        for step in range(6):
            compare_seen(turn.observation, seen)
            actions = random_actions(game, turn, step)
            if continuous:
                actions = 2 * torch.rand(actions.shape, generator=generator) - 0.5  # some are out of bounds
            turn = game.step(actions)
            results = [
                env.step(
                    {
                        agent: actions[copy, seat].clamp(0, 1).numpy() if continuous else int(actions[copy, seat])
                        for seat, agent in enumerate(env.possible_agents)
                    }
                )
                for copy, env in enumerate(envs)
            ]
            seen = [result[0] for result in results]
            rewards = [
                [result[1][agent] for agent in env.possible_agents] for result, env in zip(results, envs, strict=True)
            ]
            assert torch.equal(turn.reward, torch.tensor(rewards, dtype=torch.float32))
            assert turn.truncated.tolist() == turn.done.tolist() == [step == 5] * 2
        compare_seen(turn.final, seen)


def compare_seen(observation, seen):
    for row, by_agent in zip(observation.numpy(), seen, strict=True):
        for seat, each in zip(row, by_agent.values(), strict=True):
            assert np.array_equal(seat[: len(each)], each)
            assert not seat[len(each) :].any()


def test_connect_four_is_that_of_its_last():
    """What the mover sees and may do, and what agents have earned, is what `env.last()` returns."""
    from pettingzoo.classic import connect_four_v3

    game, env = PettingZoo("connect_four", workers=0), connect_four_v3.env()
    turn = game.reset(torch.tensor([0]))
    env.reset(seed=0)
    for step in range(100):
        seen, _, _, _, _ = env.last()
        seat = env.possible_agents.index(env.agent_selection)
        assert turn.acting[0].tolist() == [seat == 0, seat == 1]
        assert np.array_equal(turn.observation[0, seat].numpy(), seen["observation"])
        assert np.array_equal(turn.legal[0, seat].numpy(), seen["action_mask"])
        actions = random_actions(game, turn, step)
        turn = game.step(actions)
        env.step(int(actions[0, seat]))
        assert turn.reward[0].tolist() == [env.rewards[agent] for agent in env.possible_agents]
        if turn.done.item():
            break
    assert all(env.terminations.values())
    assert not turn.truncated.any()
    assert turn.reward[0].tolist() in ([1, -1], [-1, 1])


def test_worker_processes_play_the_same_games(tmp_path):
    """Two workers for three copies; one of them dies or hangs, and is replaced."""
    turns = []
    for way in ("dies", "hangs", ""):
        arguments = {"file": str(tmp_path / way), "way": way, "times": int(bool(way))}
        game = PettingZoo("foreign_worlds:Frail", arguments, workers=2 if way else 0, patience=1.0)
        with warnings.catch_warnings(record=True) as notices:
            turns.append([game.reset(derive_seeds(0, 3))])
            for step in range(9):
                turns[-1].append(game.step(random_actions(game, turns[-1][-1], step)))
        said = [str(each.message) for each in notices if each.category is Notice]
        assert bool(said) == bool(way)
        sentence = r"worker \d of 2 for \S+ (died with exit code 3|did not answer for 1 seconds), and was replaced"
        assert all(re.match(sentence, each) for each in said)
        assert len(game.state()["past"]) == game.clock.max()
    for one, two, three in zip(*turns, strict=True):
        for first, second, third in zip(one, two, three, strict=True):
            assert first is second is third is None or (torch.equal(first, third) and torch.equal(second, third))


def test_a_worker_that_fails_twice_starts_new_episodes(tmp_path):
    """The first worker dies in the fifth step, and the second one as well when it comes to that step again."""
    arguments = {"file": str(tmp_path / "lost"), "way": "dies", "times": 2}
    game = PettingZoo("foreign_worlds:Frail", arguments, workers=1)
    turn = game.reset(derive_seeds(0, 2))
    for step in range(4):
        turn = game.step(random_actions(game, turn, step))
    with pytest.warns(
        Notice, match=r"worker 1 of 1 .* and the one in its place died .*; its games start anew, .*truncated"
    ):
        turn = game.step(random_actions(game, turn, 4))
    assert (turn.done.all(), turn.truncated.all()) == (True, True)
    assert deepcopy(game).costs() == game.costs() == {"workers/lost": 2, "games/cut_off": 2}
    assert not turn.final_acting.any()  # nothing is bootstrapped
    assert not turn.reward.any()
    assert game.openings.tolist() == [1, 1]
    assert torch.equal(turn.observation, torch.zeros(2, 3, 2))
    for step in range(4):
        turn = game.step(random_actions(game, turn, step))
        assert (turn.observation.amax((1, 2)) == step + 1).all()


def test_games_that_are_cut_off_again_and_again_stop_the_run():
    """Losses are told one by one with their sum, later ones whenever their number has doubled."""
    losses = Losses()
    with warnings.catch_warnings(record=True) as notices:
        for _ in range(70):
            losses.note(1, 0, "a worker died")
    told = [int(re.search(r"workers lost so far: (\d+), games cut off: 0$", str(each.message))[1]) for each in notices]
    assert told == [*range(1, 11), 16, 32, 64]
    for step, games in ((5, 8), (5, 8), (700, 8), (1006, 8)):  # two workers in one step; a thousand steps later
        losses.steps = step
        losses.note(2, games, "a worker died")
    losses.steps = 1500
    with pytest.raises(
        Halted, match=r"; workers lost so far: 80, games cut off: 40; .* 3 of 1,000 steps, so the run stops"
    ):
        losses.note(2, 8, "a worker died")
    assert losses.counts() == {"workers/lost": 80, "games/cut_off": 40}


def test_processes_step_a_slow_environment(monkeypatch):
    monkeypatch.setattr(pace, "count_free_cores", lambda: 2)
    slow = PettingZoo("foreign_worlds:Slow")
    assert slow.describe() == "in 2 worker processes"
    slow.reset(derive_seeds(0, 2))
    assert len(slow.batch.workers) == 2


@pytest.mark.parametrize(
    ("alone", "shared", "chosen"),
    [
        (1e-3, 1e-4, "in process"),  # messages are not even tried
        (1e-2, 9e-3, "in process"),  # they gain less than a fifth
        (1e-2, 8e-3, "in 2 worker processes"),
    ],
)
def test_processes_are_taken_where_they_gain_a_fifth(monkeypatch, alone, shared, chosen):
    monkeypatch.setattr(pace, "MEASURED", {})
    monkeypatch.setattr(pace, "count_free_cores", lambda: 2)
    monkeypatch.setattr(pace, "time_step", lambda game: shared if game.workers else alone)
    assert PettingZoo("foreign_worlds:Relay").describe() == chosen


def test_games_go_on_where_they_were_saved_if_they_can():
    game, _ = play_relay(limit=5)
    other = deepcopy(game)
    moves = torch.zeros(1, 3, dtype=torch.int64)
    assert torch.equal(game.step(moves).observation, other.step(moves).observation)
    moody = PettingZoo("foreign_worlds:Moody", workers=0)
    moody.reset(torch.tensor([1, 2]))
    moody.step(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.warns(Notice, match=r"2 of 2 copies of foreign_worlds:Moody cannot be restored and start anew"):
        turn = PettingZoo("foreign_worlds:Moody", workers=0).restore(moody.state())
    assert turn.done.all()
    assert turn.acting[:, 0].all()


def test_a_picture_is_of_the_copys_present_position():
    game, _ = play_relay()
    assert game.render().shape == (300, 200, 3)
    for moves in range(1, 4):
        game.step(torch.zeros(1, 3, dtype=torch.int64))
        assert (game.render() == 10 * moves).all()


@pytest.mark.parametrize(
    ("name", "lack"),
    [
        ("foreign_worlds:Mixed", r"its environment has no render\(\)"),
        ("foreign_worlds:Blind", r"its render\(\) returns NoneType"),
        ("foreign_worlds:make_blind", r"it takes no argument render_mode"),
        ("foreign_worlds:forward", r"its environment has no render\(\)"),
    ],
)
def test_an_environment_without_pictures_says_what_it_lacks(name, lack):
    game = PettingZoo(name, workers=0)
    game.reset(torch.tensor([0]))
    with pytest.raises(Refused, match=rf"{name} cannot be drawn: {lack}; a replay needs"):
        game.render()


def test_an_environment_is_drawn_if_it_can_be_without_being_told():
    game = PettingZoo("foreign_worlds:Deaf", workers=0)
    game.reset(torch.tensor([0]))
    assert game.render().shape == (300, 200, 3)


def test_the_command_trains_stops_and_goes_on(tmp_path):
    keys = (
        "game=pettingzoo",
        "game.env=foreign_worlds:Relay",
        "game.arguments={limit: 5}",
        "game.workers=0",
        "run=relay",
    )
    small = ("responder.num_envs=4", "responder.rollout_length=7", "policy.hidden=[8]", "episodes=4", "threads=1")
    first = marl_train(tmp_path, *keys, *small, "iterations=2", "responder=mappo")
    assert (first.code, first.err) == (0, "")
    assert re.match(r"PettingZoo \(foreign_worlds:Relay\), in process · SelfPlay · PPO · seed 0", first.out)
    assert (tmp_path / "runs" / "relay" / "replay.gif").exists()
    again = marl_train(tmp_path, "resume=runs/relay", "iterations=4")
    assert (again.code, again.err) == (0, "")
    wrong = marl_train(tmp_path, "game=pettingzoo", "game.env=mpe2.simple_sprad_v3")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    frail = ("game=pettingzoo", "game.env=foreign_worlds:Frail", f"game.arguments={{file: {tmp_path}/lost}}")
    lost = marl_train(tmp_path, *frail, "game.workers=0", *small, "iterations=2")
    assert lost.code == 1
    assert lost.err.count("a shoe is lost") == 2
