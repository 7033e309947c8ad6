"""PPO on games whose solution is known."""

import math
from copy import deepcopy
from itertools import islice

import pytest
import torch
from contracts import parts
from toys import Alternating, Leaving, Matrix

from marl_engine.numerics.adam import Adam
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.responders.collation import critic_view, estimate_values, sequences_of
from marl_engine.responders.ppo import PPO
from marl_engine.types import Objective, Opponents, Turn
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.nash_ema import NashEMA
from solvers.mirror_descent.nash_prox import NashProx

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


def responder(game, **fields):
    torch.manual_seed(0)
    network = MLPSpec(hidden=(8,), shared=False)
    defaults = {"num_envs": 64, "rollout_length": 16, "minibatches": 1, "entropy_bonus": 0.0, "payoff_scale": 1.0}
    return network.profile(game), PPO(game, network, **{**defaults, **fields})


def probabilities(policy):
    rows = policy.encode(torch.ones(1, 1), torch.zeros(1, dtype=torch.int64))
    return policy(rows)[0].log_probs.exp()[0].detach()


def test_before_the_first_step_the_ratio_is_one_and_the_divergence_zero():
    """Equal weights give equal log-probabilities in play and in learning."""
    components = parts(game="overcooked")
    learner = components.responder
    _, shares, _ = learner._play(components.profile, None)
    (share,) = shares[components.profile[0]]
    batch, _ = learner._batches(learner._learner(components.profile[0]), share)
    batch, _ = learner._scale_advantage(batch)
    with torch.no_grad():
        pi, _ = components.profile[0](batch.rows)
        _, measurements = learner._update().policy_loss(components.profile[0], [], batch)
        _, narrow = learner._update().policy_loss(
            components.profile[0], [], batch._replace(advantage=torch.ones(len(batch.action)))
        )
    torch.testing.assert_close(pi.log_prob(batch.action), batch.log_prob, atol=1e-6, rtol=0)
    assert measurements["kl/last"].item() == 0
    assert narrow["loss/policy"].item() == -1  # minus the mean ratio
    assert measurements["loss/policy"].item() == pytest.approx(0, abs=1e-6)  # minus the mean of standardised advantages


@pytest.mark.parametrize("solver", [NashEMA(1.0, 0.1, keep=0.5), NashProx(1.0, 0.1, 1, 0.5), MirrorProx(1.0, 0.1)])
def test_averages_of_networks_leave_alone_how_these_read_observations(solver):
    """Overcooked's observations are differences from a byte image, which is not averaged."""
    components = parts(game="overcooked")
    picture = components.profile[0].state_dict()
    bytes_of = {name: each.clone() for name, each in picture.items() if not each.is_floating_point()}
    assert bytes_of
    for _ in islice(solver.solve(components.profile, components.responder), 2):
        pass
    assert all(torch.equal(components.profile[0].state_dict()[name], each) for name, each in bytes_of.items())


def test_descent_is_torchs_adam():
    """Ten steps with clipped gradients agree with torch.optim.Adam, also after a restore."""
    torch.manual_seed(0)
    own = torch.nn.Linear(5, 3)
    reference = deepcopy(own)
    adam = torch.optim.Adam(reference.parameters(), lr=0.01, eps=1e-5)
    descent = Adam(own)
    for step in range(10):
        inputs = torch.randn(7, 5)
        descent.step((own(inputs) ** 2).sum(), 0.01, norm=0.5)
        adam.zero_grad()
        (reference(inputs) ** 2).sum().backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        adam.step()
        if step == 4:
            state = {name: deepcopy(value) for name, value in get_state(descent).items()}
            descent.mean.zero_()
            set_state(descent, state)
    for one, other in zip(own.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_a_team_finds_the_best_cell():
    profile, learner = responder(
        Matrix(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])), learning_rate=0.02
    )
    for _ in range(60):
        metrics = learner.respond(profile).metrics
    assert metrics["return/mean"] > 2.9
    assert all(probabilities(policy)[2] > 0.95 for policy in profile)


def test_against_fixed_opponents_each_seat_finds_its_best_response():
    """Both opponents nearly always play action 0: the matcher responds with 0, the other with 1."""
    profile, learner = responder(Matrix(PENNIES, team=False), learning_rate=0.02)
    fixed = deepcopy(profile)
    for policy in fixed:
        with torch.no_grad():
            policy.network.biases[-1].copy_(torch.tensor([5.0, 0.0]))
    for _ in range(60):
        learner.respond(profile, Opponents([fixed]))
    assert probabilities(profile[0])[0] > 0.95
    assert probabilities(profile[1])[1] > 0.95
    assert all(probabilities(policy)[0] > 0.99 for policy in fixed)
    assert learner.work == {"steps": 60 * 64 * 16 * 2}  # a line-up for each seat


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("term", ["magnet", "anchor"])
def test_the_pull_stops_where_the_formula_says(term, normalise):
    """One step of argmax <q, p> - w KL(p || magnet) is p ~ magnet * exp(q / w), for any scaling."""
    game = Matrix(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # seat 1 does not matter: q = (0, 1) for seat 0
    profile, learner = responder(
        game,
        learning_rate={"start": 0.02, "end": 0.001, "over": 80_000},
        normalise_advantage=normalise,
        payoff_scale=0.5,
        discount=0.0,
    )
    other = deepcopy(profile)
    with torch.no_grad():
        other[0].network.biases[-1].copy_(torch.tensor([0.5, 0.0]))
    pull = 0.8
    magnet, anchor = Objective(magnet=other, magnet_weight=pull), Objective(anchor=other, step_size=1 / pull)
    for _ in range(80):
        learner.respond(profile, objective=magnet if term == "magnet" else anchor)
    expected = torch.softmax(probabilities(other[0]).log() + torch.tensor([0.0, 1.0]) / pull, -1)
    torch.testing.assert_close(probabilities(profile[0]), expected, atol=0.03, rtol=0)


def test_values_bootstrap_where_a_game_was_truncated():
    """Every turn earns 1: the value is 1 / (1 - discount) although games are truncated after 4 turns."""
    profile, learner = responder(
        Matrix(torch.ones(2, 2), patience=4), learning_rate=0.02, discount=0.75, value_loss="squared"
    )
    for _ in range(150):
        learner.respond(profile)
    value = learner._learner(profile[0]).critic(torch.ones(1, 1)).item()
    assert value == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("turns", [6, 7])
def test_the_value_of_a_leaving_seat_is_its_return_until_then(turns):
    """It earns 1 in each of two turns, the last of which may be the sixth, and nothing of the 100 in the last turn."""
    game = Leaving(torch.ones(2, 2), patience=4)
    profile, learner = responder(game, num_envs=2, rollout_length=turns, gae_lambda=0.0)
    _, shares, _ = learner._play(profile, None)
    critic = learner._learner(profile[1])
    _, batch = learner._batches(critic, shares[profile[1]][0])
    value = critic.critic(torch.ones(1, 1)).item()
    expected = [[1 + 0.99 * value] * 2, [1.0] * 2, [1 + 0.99 * value] * 2, [1.0] * 2]
    torch.testing.assert_close(batch.target, torch.tensor(expected).flatten())


class Staggered(Matrix):
    """Copies are truncated at different turns; `final` has a meaning only where they are."""

    def reset(self, seeds):
        return self.restore({"clock": torch.arange(len(seeds)) % self.patience})

    def _turn(self, reward, done):
        turn = super()._turn(reward, done)
        shown = turn.observation * self.clock[:, None, None]
        final = torch.where(done[:, None, None], torch.full_like(shown, self.patience), self.elsewhere)
        return turn._replace(observation=shown, final=final)


@pytest.mark.parametrize("spec", [MLPSpec(hidden=(8,)), RecurrentSpec(hidden=(8,), units=4)])
def test_last_observations_are_evaluated_only_where_games_are_truncated(spec):
    batches = []
    for elsewhere in (0.0, torch.nan):
        torch.manual_seed(0)
        Staggered.elsewhere = elsewhere
        game = Staggered(PENNIES, patience=4)
        profile, learner = spec.profile(game), PPO(game, spec, num_envs=6, rollout_length=5)
        _, shares, _ = learner._play(profile, None)
        (part,) = shares[profile[0]]
        critic = learner._learner(profile[0])
        batches.append(learner._batches(critic, part)[1])
    assert torch.equal(batches[0].target, batches[1].target)
    cut, turns = part.trajectory.truncated, part.trajectory.done.shape[0]
    sequences = sequences_of(part, critic.critic.initial_memory(12)) if critic.policy.unit == "sequence" else None
    values = estimate_values(critic.critic, part, False, sequences)
    assert (values.final[~cut] == 0).all()
    rows = critic.critic.encode(torch.full((12, 1), 4.0), torch.tensor([0, 1]).repeat(6))
    for turn in range(turns):
        memory = (
            () if sequences is None else (critic.critic.unroll(values.rows.view(5, 12, -1), *sequences[:3])[1][turn],)
        )
        value = critic.critic(rows, *memory)
        expected = (value if sequences is None else value[0]).view(6, 2)[cut[turn]]
        torch.testing.assert_close(values.final[turn][cut[turn]], expected)


def test_a_policy_without_decisions_does_not_learn():
    """Seat 0 moves alone. The other policy has no metrics, and the first one's are not averaged with them."""
    game = Alternating(torch.eye(2))
    profile, learner = responder(game, rollout_length=1)
    weights = [deepcopy(policy.state_dict()) for policy in profile]
    metrics = learner.respond(profile).metrics
    assert metrics["entropy"] == pytest.approx(math.log(2), abs=1e-3)
    changed = [
        any(not torch.equal(each, before[name]) for name, each in policy.state_dict().items())
        for policy, before in zip(profile, weights, strict=True)
    ]
    assert changed == [True, False]


def test_sequences_without_decisions_are_left_out():
    """Four sequences in four minibatches: in those of seat 1 nobody acts."""
    torch.manual_seed(0)
    game, spec = Alternating(torch.eye(2)), RecurrentSpec(hidden=(4,), units=4)
    learner = PPO(game, spec, num_envs=2, rollout_length=3, minibatches=4)
    metrics = learner.respond(spec.profile(game)).metrics
    assert metrics["entropy"] == pytest.approx(math.log(2), abs=1e-3)


def test_rollouts_without_known_outcomes_are_not_learned_from():
    """Of one turn each: seat 0 moves in the first, and waits in the second, in which seat 1 ends the game."""
    profile, learner = responder(Alternating(torch.eye(2), patience=2), rollout_length=1)
    learned = ["loss/policy" in learner.respond(profile).metrics for _ in range(4)]
    assert learned == [False, True, False, True]


def test_mappo_sees_all_seats_own_first():
    observation = torch.arange(12).view(2, 2, 3)
    own_first = critic_view(observation, [0, 1], joint=True).flatten(1)
    assert own_first.tolist() == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2], [6, 7, 8, 9, 10, 11], [9, 10, 11, 6, 7, 8]]


def test_shaping_is_learned_from_but_never_scored():
    class Hinted(Matrix):
        """Pays nothing, and has shaping rewards for action 1."""

        def step(self, actions) -> Turn:
            return super().step(actions)._replace(reward=torch.zeros(actions.shape), shaping=actions.float())

    profile, learner = responder(Hinted(torch.zeros(2, 2)), shaping=1.0, learning_rate=0.02)
    for _ in range(40):
        metrics = learner.respond(profile).metrics
    assert metrics["return/mean"] == 0
    assert probabilities(profile[0])[1] > 0.9
