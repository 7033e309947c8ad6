"""VDN and QMIX: values of teams composed of values of their members."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from settings import Setting, configuration
from toys import Matrix

from marl_engine.losses.value_decomposition import add_values, choose_values, count_mixing_weights, mix_values
from marl_engine.policies.action_values import explore
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.off_policy.q_learning import QLearning, team_transitions
from marl_engine.responders.off_policy.replay_buffer import TeamTransitions
from marl_engine.rollout.rollout import play
from marl_engine.runs.factory import build
from marl_engine.types import Turn

PENALTIES = torch.tensor([[8.0, -12, -12], [-12, 0, 0], [-12, 0, 0]])
SUM_FIT = torch.tensor([[-6.222, -4.889, -4.889], [-4.889, -3.556, -3.556], [-4.889, -3.556, -3.556]])
EXPLORING = {"epsilon": 1.0, "payoff_scale": 1.0, "warm_up": 1, "learning_rate": 0.01}


@dataclass
class Solo(Matrix):
    """Seat 0 alone, against action 0."""

    players: int = 1

    def step(self, actions):
        return super().step(torch.cat([actions, torch.zeros_like(actions)], dim=1))

    def _turn(self, reward, done):
        turn = super()._turn(reward, done)
        alone = {name: getattr(turn, name)[:, :1] for name in ("observation", "legal", "acting", "reward", "shaping")}
        return turn._replace(**alone, final=None if turn.final is None else turn.final[:, :1])


@dataclass
class TwoStep:
    """The game of Rashid et al. (2018, section 5): seat 0 chooses between 7 for sure and [[0, 1], [1, 8]]."""

    players: int = 2
    actions: int = 2
    symmetric: bool = False
    observation_shape: tuple[int, ...] = (3,)

    def reset(self, seeds):
        return self.restore({"stage": torch.zeros(len(seeds), dtype=torch.int64)})

    def state(self):
        return {"stage": self.stage.clone()}

    def restore(self, state):
        self.stage = state["stage"].clone()
        return self._turn(torch.zeros(len(self.stage)), torch.zeros(len(self.stage), dtype=torch.bool))

    def step(self, actions):
        payoff = torch.tensor([[[0.0, 0], [0, 0]], [[7, 7], [7, 7]], [[0, 1], [1, 8]]])
        reward, done = payoff[self.stage, actions[:, 0], actions[:, 1]], self.stage > 0
        self.stage = torch.where(done, 0, 1 + actions[:, 0])
        return self._turn(reward, done)

    def _turn(self, reward, done):
        games = len(done)
        return Turn(
            observation=torch.eye(3)[self.stage][:, None].repeat(1, 2, 1),
            legal=torch.ones(games, 2, 2, dtype=torch.bool),
            acting=torch.ones(games, 2, dtype=torch.bool),
            reward=reward[:, None].repeat(1, 2),
            shaping=torch.zeros(games, 2),
            done=done,
            truncated=torch.zeros_like(done),
        )


def learner_of(game, mixer, **fields):
    torch.manual_seed(0)
    network = MLPSpec(hidden=(16,), action_values=True, shared=False)
    profile = network.profile(game)
    small = {"mixing_units": 8, "mixing_hidden": 16, "updates": 4, "batch": 64, "rollout_length": 2, "target_tau": 0.2}
    return profile, QLearning(game, network, mixer=mixer, **{**small, **fields})


def train(responder, profile, iterations):
    for _ in range(iterations):
        responder.respond(profile)
    return responder._learner(profile).value


@torch.no_grad()
def joint_values(value, observation):
    """The team's values (A, A) for two seats that observe (2, …)."""
    own = value.own_values(observation[None])
    pairs = torch.tensor(list(product(range(own.shape[-1]), repeat=2)))
    seen = observation.expand(len(pairs), *observation.shape)
    chosen = choose_values(own.expand(len(pairs), -1, -1), pairs, torch.ones(len(pairs), 2, dtype=torch.bool))
    return value.mix(chosen, seen).view(own.shape[-1], -1)


def test_a_sum_fits_the_game_of_penalties_only_so_far():
    """The exact least-squares fit, which takes action 0 for the worst."""
    rows = torch.stack([torch.eye(3)[[one, other]].flatten() for one, other in product(range(3), repeat=2)]).double()
    own = torch.linalg.lstsq(rows, PENALTIES.flatten().double()[:, None], driver="gelsd").solution[:, 0].view(2, 3)
    fit = torch.stack([add_values(torch.stack([own[0, one], own[1, other]])[None])[0]
                       for one, other in product(range(3), repeat=2)]).view(3, 3)  # fmt: skip
    torch.testing.assert_close(fit.float(), SUM_FIT, atol=1e-3, rtol=0)


def test_vdn_learns_that_fit():
    keys = {**EXPLORING, "learning_rate": {"start": 0.02, "end": 1e-4, "over": 50 * 512 * 2}}
    profile, responder = learner_of(Matrix(PENALTIES), "sum", **keys, batch=512, num_envs=512)
    value = train(responder, profile, 50)
    torch.testing.assert_close(joint_values(value, torch.ones(2, 1)), SUM_FIT, atol=0.3, rtol=0)


def test_the_monotonic_mixer_increases_and_its_best_joint_action_is_made_of_the_best_own_ones():
    torch.manual_seed(0)
    own = torch.randn(50, 3, 4)
    weights = 2 * torch.randn(50, count_mixing_weights(3, 8))
    chosen = own[..., 0].clone().requires_grad_()
    mix_values(chosen, weights, 8).sum().backward()
    assert (chosen.grad >= 0).all()
    assert (chosen.grad > 0).any()
    joint = torch.tensor(list(product(range(4), repeat=3)))
    acting = torch.ones(50, 3, dtype=torch.bool)
    totals = torch.stack([mix_values(choose_values(own, each.expand(50, -1), acting), weights, 8) for each in joint], 1)
    best = mix_values(own.amax(-1), weights, 8)
    torch.testing.assert_close(totals.amax(1), best)
    assert torch.equal(joint[totals.argmax(1)], own.argmax(-1))


def test_mixing_is_the_formula():
    own, weights = torch.tensor([[2.0, -1.0]]), torch.tensor([[-1.0, 2.0, 3.0, -4.0, 0.5, -9.0, -5.0, 6.0, 0.25]])
    hidden = [1 * 2 - 3 * 1 + 0.5, 2 * 2 - 4 * 1 - 9]  # -0.5, -9
    expected = 5 * (torch.tensor(hidden[0]).exp() - 1) + 6 * (torch.tensor(hidden[1]).exp() - 1) + 0.25
    torch.testing.assert_close(mix_values(own, weights, 2)[0], expected)


@pytest.mark.parametrize(("mixer", "first", "earned"), [("sum", 0, 7.0), ("monotonic", 1, 8.0)])
def test_the_two_step_game(mixer, first, earned):
    """QMIX finds 8, and VDN is content with 7; all play is random, as in the paper."""
    game = TwoStep()
    profile, responder = learner_of(game, mixer, **EXPLORING)
    value = train(responder, profile, 60)
    safe, risky = (joint_values(value, torch.eye(3)[stage].expand(2, 3)) for stage in (1, 2))
    seeds = torch.arange(4)
    trajectory, *_ = play(game, profile, game.reset(seeds), seeds, 0, 2)
    assert (trajectory.action[0, :, 0] == first).all()
    assert (trajectory.reward[1] == earned).all()
    torch.testing.assert_close(safe, torch.full((2, 2), 7.0), atol=0.4, rtol=0)
    fit = torch.tensor([[-1.5, 2.5], [2.5, 6.5]] if mixer == "sum" else [[0.0, 1.0], [1.0, 8.0]])
    torch.testing.assert_close(risky, fit, atol=0.4, rtol=0)


def transitions(count, players, legal_after, over):
    """Transitions of the game of one observation."""
    true = torch.ones(count, players, dtype=torch.bool)
    seen = torch.ones(count, players, 1)
    return TeamTransitions(
        seen, true, torch.zeros(count, players).long(), torch.arange(count).float(), seen, true, legal_after, over
    )


def test_a_single_seat_has_the_target_of_a_double_deep_q_network():
    """The learner finds action 2 best, then 1; the target network says what these are worth."""
    profile, responder = learner_of(Solo(torch.zeros(3, 3)), "sum", discount=0.9)
    learner = responder._learner(profile)
    for value, numbers in ((learner.value, [1.0, 2.0, 3.0]), (learner.target, [10.0, 20.0, 30.0])):
        weight, bias = value.networks[0].output_layer()
        weight.data.zero_()
        bias.data.copy_(torch.tensor(numbers))
    legal = torch.tensor([[[True] * 3], [[True, True, False]], [[True] * 3]])
    target = responder.target(learner, transitions(3, 1, legal, torch.tensor([0.0, 0.0, 1.0])))
    torch.testing.assert_close(target, torch.tensor([0 + 0.9 * 30, 1 + 0.9 * 20, 2.0]))


def test_values_bootstrap_where_a_game_was_truncated_and_not_where_it_ended():
    """Every turn earns 1: 1 / (1 - discount) if games are truncated after 4 turns, 1 if they end after one."""
    for patience, expected in ((4, 4.0), (1, 1.0)):
        game = Solo(torch.ones(2, 2), patience=patience)
        profile, responder = learner_of(game, "sum", **EXPLORING, discount=0.75, num_envs=8, rollout_length=4)
        value = train(responder, profile, 60)
        torch.testing.assert_close(
            value.own_values(torch.ones(1, 1, 1)), torch.full((1, 1, 2), expected), atol=0.05, rtol=0
        )


class Counting(Matrix):
    """Seats observe the turn of the game; in the last observation of a truncated game it is `patience`."""

    def _turn(self, reward, done):
        turn = super()._turn(reward, done)
        now = self.clock.float()[:, None, None].expand(-1, 2, 1)
        return turn._replace(observation=now, final=torch.where(done[:, None, None], self.patience, now))


def test_transitions_lead_to_the_next_observation_or_to_the_last_one_of_a_truncated_game():
    profile, responder = learner_of(Counting(torch.ones(2, 2), patience=3), "sum", num_envs=2, rollout_length=4)
    trajectory, _ = responder.stream.play(profile, 4)
    transitions = team_transitions(trajectory, responder.stream.turn, trajectory.reward.mean(-1))
    assert transitions.observation[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
    assert transitions.after[:, 0, 0].tolist() == [1, 1, 2, 2, 3, 3, 1, 1]
    assert not transitions.over.any()


def test_exploration_is_uniform_over_legal_actions_and_none_where_there_is_no_epsilon():
    values = torch.tensor([[1.0, 5.0, 3.0, 9.0]])
    legal = torch.tensor([[True, True, True, False]])
    shares = explore(values, legal, 0.3).log_probs.exp()
    torch.testing.assert_close(shares, torch.tensor([[0.1, 0.8, 0.1, 0.0]]))
    greedy = explore(values, legal, 0.0)
    assert greedy.mode().item() == 1
    assert greedy.sample(torch.tensor([0.99]))[0].item() == 1
    assert greedy.entropy().item() == 0


def test_policies_explore_in_learning_only():
    profile, responder = learner_of(Matrix(PENALTIES), "monotonic", epsilon=1.0)
    responder.respond(profile)
    assert len(responder.replay.transitions.action[: len(responder.replay)].unique(dim=0)) == 9
    assert all(policy.epsilon == 0 for policy in profile)


@pytest.mark.parametrize("mixer", ["vdn", "qmix"])
def test_statistics_of_observations_are_those_of_the_slow_copy_too(mixer):
    config = configuration(Setting("overcooked", "self_play", "network", mixer))
    components = build({**config, "policy": config["policy"] | {"normalise_observations": True}})
    for _ in range(3):
        components.responder.respond(components.profile)
    learner = components.responder._learner(components.profile)
    moments = components.profile[0].network.normaliser.moments
    assert moments.weight == 3 * 4 * 8 * 2
    assert torch.equal(learner.target.networks[0].normaliser.moments.mean, moments.mean)


def test_who_cannot_learn_so_is_refused():
    with pytest.raises(ValueError, match="action_values must be true"):
        QLearning(Matrix(PENALTIES), MLPSpec())
    control = build(configuration(Setting("control", "self_play", "network", "ippo"))).game
    with pytest.raises(ValueError, match="has no actions that are numbered"):
        QLearning(control, MLPSpec(action_values=True))


def test_a_share_of_random_actions_above_one_is_refused():
    for epsilon, part in ((1.5, ""), ({"start": 2.0, "end": 0.1, "over": 100}, ".start")):
        with pytest.raises(ValueError, match=rf"responder\.epsilon{part} must be .* of at least 0 and at most 1, not "):
            QLearning(Matrix(PENALTIES), MLPSpec(action_values=True), epsilon=epsilon)


def test_a_buffer_without_room_for_a_rollout_is_refused():
    network = MLPSpec(hidden=(8,), action_values=True)
    with pytest.raises(
        ValueError, match=r"responder\.memory must be at least 512, the decisions added at once, not 511"
    ):
        QLearning(Matrix(PENALTIES), network, memory=511)
    with pytest.raises(ValueError, match=r"responder\.warm_up must be a whole number of 0 or more, not -1"):
        QLearning(Matrix(PENALTIES), network, warm_up=-1)
