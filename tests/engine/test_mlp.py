"""The perceptron's gradient agrees with autograd's, and its sparse product with the dense one."""

import pytest
import torch
from toys import Walk

from marl_engine.networks.mlp import MLP
from marl_engine.networks.sparse_input import END
from marl_engine.numerics.adam import flatten_parameters
from marl_engine.policies.mlp import MLPSpec
from marl_engine.spaces import ActionSpace, Spaces


def networks(activation, seats=2, features=37):
    torch.manual_seed(0)
    background = torch.randint(0, 3, (features,), dtype=torch.uint8)
    observation = background.repeat(50, 1)
    observation[torch.rand(observation.shape) < 0.2] = 7
    network = MLP(background, [16, 8], 5, seats=seats, activation=activation, gain=1.0)
    return network, observation, torch.arange(50) % 2


def by_autograd(network, rows):
    """Computes the same network with torch operations, for autograd."""
    function = torch.tanh if network.activation == "tanh" else torch.relu
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        rows = rows @ weight + bias
        if index < len(network.weights) - 1:
            rows = function(rows)
    return rows


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("seats", [0, 2])
def test_values_and_gradients_are_those_of_autograd(activation, seats, threads):
    network, observation, seat = networks(activation, seats)
    observation, seat = observation.repeat(40, 1), seat.repeat(40)  # enough for two cores
    torch.set_num_threads(threads)
    indicator = torch.nn.functional.one_hot(seat, 2).float()[:, :seats]
    dense = torch.cat([observation.float(), indicator], dim=1)
    rows = network.encode(observation, seat)
    assert rows.dtype == torch.int32
    weights = torch.randn(len(observation), 5)
    outputs, gradients = [], []
    for outcome in (network(rows), network(dense), by_autograd(network, dense)):
        network.zero_grad()
        (outcome * weights).sum().backward()
        outputs.append(outcome.detach())
        gradients.append([each.grad.clone() for each in network.parameters()])
    torch.set_num_threads(1)
    for first, grown in zip(outputs[:2], gradients[:2], strict=True):
        torch.testing.assert_close(first, outputs[2], rtol=1e-4, atol=1e-4)
        for one, other in zip(grown, gradients[2], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)


def test_lists_hold_the_differences_and_nothing_else():
    network, observation, seat = networks("tanh", seats=0)
    lists = network.encode(observation, seat)
    for row, entries in zip(observation, lists, strict=True):
        entries = entries[: [*entries.tolist(), END].index(END)]
        different = (row != network.background).nonzero()[:, 0]
        assert torch.equal(entries >> 8, different.to(torch.int32))
        assert torch.equal(entries & 255, row[different].to(torch.int32))


def test_an_observation_equal_to_the_background_has_an_empty_list():
    network, _, seat = networks("tanh", seats=0)
    plain = network.background.repeat(3, 1)
    assert network.encode(plain, seat[:3]).shape == (3, 0)
    torch.testing.assert_close(network(network.encode(plain, seat[:3])), by_autograd(network, plain.float()))


def test_flattened_parameters_are_views():
    network, observation, seat = networks("tanh")
    before = network(network.encode(observation, seat)).detach()
    vector, gradient = flatten_parameters(network)
    torch.testing.assert_close(network(network.encode(observation, seat)).detach(), before)
    network(network.encode(observation, seat)).sum().backward()
    assert gradient.abs().sum() > 0
    assert torch.equal(torch.cat([each.grad.flatten() for each in network.parameters()]), gradient)
    with torch.no_grad():
        vector.zero_()
    assert network(network.encode(observation, seat)).abs().max() == 0


class Costly(Walk):
    """Says what its observations are, so that nobody has to look at one."""

    spaces = Spaces((1,), ActionSpace(2), torch.float32)

    def reset(self, seeds):
        raise AssertionError


def test_a_game_that_declares_numbers_is_not_reset_for_its_networks():
    (policy, _) = MLPSpec(hidden=(4,)).profile(Costly())
    assert policy.network.background.tolist() == [0.0]
