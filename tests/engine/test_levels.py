"""Levels: games open at levels that a source draws, and the source is told their payoffs."""

from dataclasses import dataclass
from itertools import islice

import pytest
import torch
from toys import Matrix

from games.recall import Recall
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.levels import Stages
from marl_engine.rollout.stream import Stream
from marl_engine.runs.checkpoint import read, write
from marl_engine.types import Policy, Turn
from solvers.self_play import SelfPlay

SEEDS = derive_seeds(2, 40)


@dataclass
class Doors:
    """One of two doors is open at each level; a seat that takes it earns 1, otherwise 0."""

    actions: int = 2
    players: int = 1
    symmetric: bool = True
    observation_shape: tuple[int, ...] = (1,)

    def reset(self, seeds, levels=None):
        return self.restore({"doors": torch.zeros_like(seeds) if levels is None else levels})

    def restart(self, copies, levels):
        return self.restore({"doors": self.doors.index_copy(0, copies, levels)})

    def state(self):
        return {"doors": self.doors.clone()}

    def restore(self, state):
        self.doors = state["doors"].clone()
        return self._turn(torch.zeros(len(self.doors), 1), done=False)

    def step(self, actions):
        return self._turn((actions == self.doors[:, None]).float(), done=True)

    def _turn(self, reward, done):
        games = len(self.doors)
        always = torch.ones(games, 1, 2, dtype=torch.bool)
        done = torch.full((games,), done)
        shown = self.doors.float()[:, None, None]
        return Turn(shown, always, always[..., 0], reward, torch.zeros(games, 1), done, torch.zeros_like(done))


class Takes(Policy):
    """Always takes the same door."""

    def __init__(self, door):
        super().__init__()
        self.door = door

    def forward(self, rows, legal=None, memory=None):
        return Categorical(torch.tensor([0.0, -100.0]).roll(self.door).expand(len(rows), 2)), None


def by_turns(*doors):
    """Returns a source that draws levels in turn, by the number of the decision."""

    class Source:
        def draw(self, seeds, number):
            return torch.full_like(seeds, doors[number % len(doors)])

    return Source()


def test_a_source_goes_on_at_a_success_rate_over_the_last_games_of_its_level():
    source = Stages(levels=[0, 1, 5], threshold=0.9, games=10)

    def stage_after(level, successes, failures=0):
        earned = torch.tensor([1.0] * successes + [0.0] * failures)
        source.report(torch.full((len(earned),), level), earned[:, None])
        return source.stage

    assert stage_after(0, 9) == 0  # too few games
    assert stage_after(1, 10) == 0  # another level
    assert stage_after(0, 6, 2) == 0  # 8 of the last 10 games
    assert stage_after(0, 8) == 0  # 8 again: the failures are still among them
    assert source.draw(SEEDS, 3).unique().tolist() == [0]
    assert stage_after(0, 1) == 1  # 9 of 10
    assert source.draw(SEEDS, 3).unique().tolist() == [1]
    assert stage_after(1, 1) == 1  # what was earned before does not count
    assert stage_after(1, 9) == stage_after(5, 10) == 2  # there is no level after the last one


def test_games_open_at_the_sampled_level_and_record_it():
    """Recall with delay d takes d + 1 turns. Delays are drawn in turn, by the decision at which a game opens."""
    stream = Stream(Recall(players=1), SEEDS, by_turns(2, 1, 3))
    trajectory, _ = stream.play([Takes(0)], 10)
    assert (trajectory.level == trajectory.level[:, :1]).all()
    assert trajectory.level[:, 0].tolist() == [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]  # games open at 0, 3, 6, 9
    stream = Stream(Recall(players=1), SEEDS, by_turns(1, 4, 2))
    trajectory, _ = stream.play([Takes(0)], 7)
    later, _ = stream.play([Takes(0)], 6)  # a game of level 1 is under way, in its second turn
    levels, done = torch.cat([trajectory.level, later.level])[:, 0], torch.cat([trajectory.done, later.done])[:, 0]
    assert levels.tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]  # games open at 0, 2, 5, 8, 11
    assert done.nonzero()[:, 0].tolist() == [1, 4, 7, 10]
    opened = trajectory.observation[[0, 2, 5], :, 0, :2].sum(-1)  # a cue is shown where a game opens
    assert (opened == 1).all()


def test_level_sources_are_updated_after_each_stretch():
    """Door 0 succeeds at level 0 and fails at level 1, which follows after 100 successes."""
    source = Stages(levels=[0, 1], threshold=1.0, games=100)
    learner = PPO(Doors(), MLPSpec(hidden=(4,)), num_envs=20, rollout_length=4, levels=source)
    stages, payoffs = [], []
    for _ in range(4):
        trajectories, *_ = learner._play([Takes(0)], None)
        stages.append(trajectories[0].level.float().mean(1).tolist())
        payoffs.append(trajectories[0].reward.mean((1, 2)).tolist())
    assert stages == [[0.0] * 4, [0.0] * 4, [0.0, 1.0, 1.0, 1.0], [1.0] * 4]  # games that had opened go on
    assert payoffs == [[1.0 - each for each in stage] for stage in stages]


@pytest.mark.parametrize("shard", [None, 8])
def test_a_learner_masters_one_level_and_then_the_next_also_after_a_checkpoint(shard, tmp_path):
    """The open door is observed. The second level opens at 9 successes in 10; the source is saved."""
    torch.manual_seed(0)
    settings = {"num_envs": 32, "rollout_length": 8, "learning_rate": 0.02, "payoff_scale": 1.0, "shard": shard}
    network = MLPSpec(hidden=(8,))

    def learner():
        levels = {"_target_": "marl_engine.rollout.Stages", "levels": [0, 1], "threshold": 0.9}
        return PPO(Doors(), network, levels=levels, **settings)

    profile, first = network.profile(Doors()), learner()
    stages = []
    for _ in islice(SelfPlay().solve(profile, first), 30):
        stages.append(first.lineups.source.stage)
    assert stages == sorted(stages)
    assert (stages[0], stages[-1]) == (0, 1)
    step = first.respond(profile)
    assert step.batch[0].level.float().mean() == 1
    assert step.metrics["return/mean"] > 0.9
    second = learner()
    second.prepare(profile)
    set_state(second, read(write(tmp_path, 0, get_state(first))))
    assert torch.equal(second.lineups.source.earned, first.lineups.source.earned)
    one, two = (each._play(profile, None)[0][0] for each in (first, second))
    assert torch.equal(one.level, two.level)
    assert torch.equal(one.action, two.action)


def test_a_game_without_levels_is_refused():
    game = Matrix(torch.eye(2))
    with pytest.raises(ValueError, match="Matrix has no levels: a source of levels needs `restart`"):
        PPO(game, MLPSpec(), levels=Stages([0], 1.0))
    with pytest.raises(ValueError, match="at least one level"):
        Stages([], 1.0)


def test_levels_have_one_type_and_one_shape():
    """Of numbers with and without a fraction a copy may have one or the other next."""
    source = Stages([0, 0.5, 1], 1.0)
    assert {source.draw(SEEDS, 0).dtype for source.stage in range(3)} == {torch.float32}
    with pytest.raises(
        ValueError, match=r"levels must be numbers, or lists of numbers of one length, not \[\[0\], \[0, 1\]\]"
    ):
        Stages([[0], [0, 1]], 1.0)
