"""Convolutional networks: number of parameters, equivariance, and a task that one learns."""

from dataclasses import dataclass
from itertools import islice

import pytest
import torch
from torch.nn.functional import one_hot

from games.overcooked import Overcooked
from marl_engine.networks.cnn import CNN, MANY, convolve
from marl_engine.networks.mlp import MLP
from marl_engine.numerics.rng import derive_seeds, draw_uniforms
from marl_engine.policies.cnn import CNNSpec
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.responders.collation import critic_view
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.rollout import score
from marl_engine.types import Turn
from solvers.self_play import SelfPlay


@dataclass
class Pixel:
    """One pixel of an image is bright, a different one for each seat and turn; a seat that names its column earns
    1.
    """

    size: int = 5
    players: int = 2
    symmetric: bool = True
    device: str = "cpu"

    def __post_init__(self):
        self.actions, self.observation_shape = self.size, (self.size, self.size, 1)

    def reset(self, seeds):
        return self.restore({"seeds": seeds, "clock": torch.zeros((), dtype=torch.int64)})

    def state(self):
        return {"seeds": self.seeds.clone(), "clock": self.clock.clone()}

    def restore(self, state):
        self.seeds, self.clock = state["seeds"], state["clock"].clone()
        return self._turn(torch.zeros(len(self.seeds), self.players))

    def step(self, actions):
        reward = (actions == self.place() % self.size).float()
        self.clock += 1
        return self._turn(reward)

    def place(self):
        noise = draw_uniforms(self.seeds, int(self.clock), 1, self.players)[0]
        return (noise * self.size**2).long()

    def _turn(self, reward):
        games, always = len(self.seeds), torch.ones(len(self.seeds), self.players, self.actions, dtype=torch.bool)
        image = one_hot(self.place(), self.size**2).to(torch.uint8)
        return Turn(
            observation=image.view(games, self.players, *self.observation_shape),
            legal=always,
            acting=always[..., 0],
            reward=reward,
            shaping=torch.zeros(games, self.players),
            done=torch.full((games,), bool(self.clock)),
            truncated=torch.zeros(games, dtype=torch.bool),
        )


def network(shape=(1, 9, 8, 2), channels=(3, 4), hidden=(5,), outputs=6, seats=0, **changes):
    torch.manual_seed(0)
    settings = {"kernel": (3, 3), "stride": 1, "padding": (True, True), "activation": "tanh", "gain": 1.0, **changes}
    return CNN(shape, channels, hidden, outputs, seats=seats, **settings)


def count(module):
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize(("stride", "features"), [(1, 9 * 8 * 4), (2, 3 * 2 * 4)])
def test_parameters_are_counted_by_formula(stride, features):
    """Kernels of 9 weights from each channel to each, and biases; an image of 9 x 8 becomes 5 x 4, then 3 x 2."""
    convolutions = (9 * 2 + 1) * 3 + (9 * 3 + 1) * 4
    assert count(network(stride=stride, seats=2)) == convolutions + (features + 2 + 1) * 5 + (5 + 1) * 6
    spec, kitchen = CNNSpec(channels=(8,), hidden=(10,)), Overcooked()  # 5 x 4 cells of 26 channels, seats told apart
    assert count(spec.critic(kitchen, joint=False)) == (9 * 26 + 1) * 8 + (5 * 4 * 8 + 2 + 1) * 10 + 11
    assert count(spec.critic(kitchen, joint=True)) == (9 * 52 + 1) * 8 + (5 * 4 * 8 + 2 + 1) * 10 + 11


def test_features_shift_with_the_image():
    """Images of noise that are shifted by one row and two columns, away from the border."""
    convolutions, image = network(shape=(1, 12, 12, 2)), torch.randn(3, 1, 12, 12, 2)
    before, after = convolutions.features(image), convolutions.features(image.roll((1, 2), dims=(2, 3)))
    torch.testing.assert_close(after[..., 3:-2, 4:-2], before[..., 2:-3, 2:-4])


def test_without_padding_a_kernel_is_applied_inside_the_image_only():
    """A kernel of 4 has 3 x 4 places on a board of 6 x 7, each a product with the 4 x 4 cells there."""
    board = network(shape=(1, 6, 7, 3), channels=(5,), hidden=(8,), kernel=(4, 4), padding=(False, False))
    assert count(board) == (16 * 3 + 1) * 5 + (3 * 4 * 5 + 1) * 8 + (8 + 1) * 6
    image = torch.randn(2, 1, 6, 7, 3)
    (layer,), features = board.convolutions, board.features(image)
    assert features.shape == (2, 5, 3, 4)
    window = image[:, 0, 1:5, 2:6].permute(0, 3, 1, 2)
    here = torch.einsum("nchw,kchw->nk", window, layer.weight) + layer.bias
    torch.testing.assert_close(features[:, :, 1, 2], here.tanh())
    with pytest.raises(ValueError, match="a kernel of 5 does not fit into 4 pixels without padding"):
        network(shape=(1, 4, 7, 3), channels=(5,), kernel=(5, 5), padding=(False, False))


@pytest.mark.parametrize(("stride", "padding"), [(1, True), (2, True), (1, False), (2, False)])
def test_a_layer_as_a_matrix_is_the_convolution(stride, padding):
    """Values and gradients for many images, which take the product, equal those for few, which are convolved."""
    net = network(shape=(1, 4, 5, 2), channels=(3,), stride=stride, padding=(padding, padding)).double()
    (layer,), images = net.convolutions, torch.randn(100 * MANY, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for outputs in (convolve(layer, images), torch.cat([convolve(layer, each) for each in images.split(10)])):
        results.append((outputs, *torch.autograd.grad(outputs.sin().sum(), [images, *layer.parameters()])))
    for product, convolution in zip(*results, strict=True):
        torch.testing.assert_close(product, convolution)


def test_a_cnn_on_one_pixel_equals_a_perceptron():
    """A kernel with one weight per channel is a linear layer; forward and gradient, with the seat."""
    convolutional = network(shape=(1, 1, 1, 7), channels=(4,), seats=2, kernel=(1, 1))
    perceptron = MLP(torch.zeros(7), [4, 5], 6, seats=0, activation="tanh", gain=1.0)
    (layer,), head = convolutional.convolutions, convolutional.head
    pixel, seat = torch.randint(0, 9, (20, 1, 1, 7), dtype=torch.uint8), torch.zeros(20, dtype=torch.int64)
    with torch.no_grad():
        weights = [layer.weight[:, :, 0, 0].T, head.weights[0][:4], head.weights[1]]
        biases = [layer.bias, head.biases[0] + head.weights[0][4], head.biases[1]]
        for first, its in zip([*perceptron.weights, *perceptron.biases], weights + biases, strict=True):
            first.copy_(its)
    outputs = convolutional(convolutional.encode(pixel, seat))
    torch.testing.assert_close(outputs, perceptron(pixel.flatten(1).float()))
    torch.testing.assert_close(outputs, convolutional(convolutional.encode(pixel.double(), seat)))
    outputs.sum().backward()
    perceptron(pixel.flatten(1).float()).sum().backward()
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0].T, perceptron.weights[0].grad)


@pytest.mark.parametrize("spec", [CNNSpec(seat_indicator=False), RecurrentSpec(channels=(4,), seat_indicator=False)])
def test_a_joint_critic_sees_the_images_of_all_seats_starting_with_its_own(spec):
    """Seat 1 values a kitchen as seat 0 values it with exchanged images."""
    kitchen = Overcooked()
    critic, images = spec.critic(kitchen, joint=True), torch.rand(3, 2, 5, 4, 26)
    values = []
    for seat, observation in ((1, images), (0, images.flip(1))):
        views = critic_view(observation, [seat], joint=True)
        assert views.shape == (3, 2, 5, 4, 26)
        rows = critic.encode(views, torch.full((3,), seat))
        values.append(critic(rows) if isinstance(spec, CNNSpec) else critic(rows, critic.initial_memory(3))[0])
    torch.testing.assert_close(*values)
    assert values[0].std() > 0


@pytest.mark.parametrize("critic", ["own", "joint"])
def test_a_seat_learns_to_name_the_column_of_a_bright_pixel(critic):
    """With probability 0.9 after 20 iterations; a guess is right with probability 0.2."""
    torch.manual_seed(0)
    game, spec = Pixel(), CNNSpec(channels=(4,), hidden=(32,))
    settings = {"learning_rate": 1e-2, "payoff_scale": 1.0, "discount": 0.0, "entropy_bonus": 0.003}
    settings |= {"num_envs": 32, "rollout_length": 16, "minibatches": 2}
    learner, profile = PPO(game, spec, critic=critic, **settings), spec.profile(game)
    for _ in islice(SelfPlay().solve(profile, learner), 20):
        pass
    assert (score(game, profile, derive_seeds(1, 1000)).mean(0) > 0.9).all()


def test_observations_that_are_no_images_are_refused():
    flat = Pixel()
    flat.observation_shape = (25,)
    for spec in (CNNSpec(), RecurrentSpec(channels=(4,))):
        with pytest.raises(
            ValueError, match=r"Pixel does not show images: .* \(height, width, channels\), not \(25,\)"
        ):
            spec.profile(flat)
    for wrong, sentence in (({"kernel": 4}, "odd"), ({"channels": []}, "at least one"), ({"hidden": [0]}, "1 unit")):
        with pytest.raises(ValueError, match=sentence):
            CNNSpec(**wrong)
    assert MLPSpec().profile(Pixel())
