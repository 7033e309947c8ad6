"""Recurrent layers agree with torch's, and unrolling agrees with single turns."""

import pytest
import torch

from games.openspiel import OpenSpiel
from marl_engine.networks.mlp import MLP
from marl_engine.networks.recurrent import CELLS, GRU, LSTM, RecurrentNetwork
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.trees import choose_rows, map_tree
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TabularSpec, fill_tables
from marl_engine.rollout.rollout import play


def test_cells_are_torchs():
    """One turn of 7 rows with the same weights; torch orders the gates as r, z, n and as i, f, g, o."""
    torch.manual_seed(0)
    inputs, hidden, state = torch.randn(7, 3), torch.randn(7, 5), torch.randn(7, 5)
    gru, lstm = GRU(3, 5), LSTM(3, 5)
    for cell in (gru, lstm):
        for weights in cell.parameters():
            weights.data.normal_()
    reference = torch.nn.GRUCell(3, 5)
    reference.load_state_dict(
        {"weight_ih": gru.input_weight.T, "weight_hh": gru.memory_weight.T}
        | {"bias_ih": gru.input_bias, "bias_hh": gru.memory_bias}
    )
    torch.testing.assert_close(gru.step(gru.project(inputs), hidden)[0], reference(inputs, hidden))
    other = torch.nn.LSTMCell(3, 5)
    order = torch.arange(20).view(4, 5)[[0, 1, 3, 2]].flatten()
    other.load_state_dict(
        {"weight_ih": lstm.input_weight.T[order], "weight_hh": lstm.memory_weight.T[order]}
        | {"bias_ih": lstm.bias[order], "bias_hh": torch.zeros(20)}
    )
    torch.testing.assert_close(lstm.step(lstm.project(inputs), (hidden, state))[1], other(inputs, (hidden, state)))


def test_the_table_of_a_policy_with_memory_equals_its_play():
    """In Leduc a seat acts up to four times in a game; its tabulated probabilities equal those of play."""
    torch.manual_seed(1)
    game, seeds = OpenSpiel("leduc_poker"), derive_seeds(1, 50)
    profile, tables = RecurrentSpec(units=8, hidden=(8,)).profile(game), TabularSpec().profile(game)
    for weights in profile[0].parameters():
        weights.data.mul_(3).add_(0.5 * torch.randn_like(weights))
    fill_tables(tables, extract_strategy(game, profile))
    trajectory, *_ = play(game, profile, game.reset(seeds), seeds, 0, 20)
    for seat, table in enumerate(tables):
        acts = trajectory.acting[..., seat]
        rows = table.encode(trajectory.observation[..., seat, :][acts], torch.full((int(acts.sum()),), seat))
        log_prob = table(rows)[0].log_prob(trajectory.action[..., seat][acts])
        torch.testing.assert_close(log_prob, trajectory.log_prob[..., seat][acts], atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_unroll_equals_forward_turn_by_turn(cell):
    """Games open and seats wait within sequences; gradients go back to the opening of the game only."""
    torch.manual_seed(0)
    network = RecurrentNetwork(MLP(torch.zeros(3), [], 4, seats=0, activation="tanh", gain=1.0), cell, 5, 2, 1.0)
    rows, opens, acting = torch.randn(6, 8, 3), torch.rand(6, 8) < 0.1, torch.rand(6, 8) < 0.7
    start = map_tree(lambda each: torch.randn_like(each).requires_grad_(), network.initial_memory(8))
    outputs, memories = network.unroll(rows, start, opens, acting)
    memory = start
    for turn in range(6):
        memory = choose_rows(opens[turn], network.initial_memory(8), memory)
        output, after = network(rows[turn], memory)
        memory = choose_rows(acting[turn], after, memory)
        torch.testing.assert_close(outputs[turn], output)
    map_tree(torch.testing.assert_close, memories[-1], memory)
    outputs[-1].sum().backward()
    map_tree(lambda each: torch.testing.assert_close(each.grad.abs().sum(-1) > 0, ~opens.any(0)), start)
