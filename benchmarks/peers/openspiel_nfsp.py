"""Measures the NashConv of OpenSpiel's NFSP (torch) against CPU seconds.

Called by `benchmarks/deep_nash.py` with the Python of the peer's environment:
`openspiel_nfsp.py GAME SECONDS SEED`. The settings are those of its example for Leduc poker. The CPU seconds do not
include the computation of NashConv. Prints one line of JSON.
"""

import json
import sys
import time

import numpy as np
import pyspiel
import torch
from open_spiel.python import rl_environment
from open_spiel.python.pytorch import nfsp

SETTINGS = {
    "hidden_layers_sizes": [128],
    "replay_buffer_capacity": 200_000,
    "reservoir_buffer_capacity": 2_000_000,
    "min_buffer_size_to_learn": 1000,
    "anticipatory_param": 0.1,
    "batch_size": 128,
    "learn_every": 64,
    "rl_learning_rate": 0.01,
    "sl_learning_rate": 0.01,
    "optimizer_str": "sgd",
    "loss_str": "mse",
    "update_target_network_every": 19_200,
    "discount_factor": 1.0,
    "epsilon_decay_duration": 20_000_000,
    "epsilon_start": 0.06,
    "epsilon_end": 0.001,
}


def main(name: str, seconds: float, seed: int) -> None:
    """Prints CPU seconds, episodes and NashConv at three points of time as a line of JSON."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    environment = rl_environment.Environment(pyspiel.load_game(name))
    size, actions = environment.observation_spec()["info_state"][0], environment.action_spec()["num_actions"]
    agents = [nfsp.NFSP(seat, size, actions, seed=seed + 10 * seat, **SETTINGS) for seat in range(2)]
    infosets, curve, episodes, spent = list_infosets(environment.game), [], 0, 0.0
    for limit in (seconds / 3, 2 * seconds / 3, seconds):
        start = time.process_time() - spent
        while time.process_time() - start < limit:
            play_episode(environment, agents)
            episodes += 1
        spent = time.process_time() - start
        curve.append((spent, episodes, pyspiel.nash_conv(environment.game, average_policy(agents, infosets))))
    print(json.dumps({"curve": curve}))


def play_episode(environment, agents) -> None:
    """Plays an episode, from which the agents learn."""
    step = environment.reset()
    while not step.last():
        output = agents[step.observations["current_player"]].step(step)
        step = environment.step([output.action])
    for agent in agents:
        agent.step(step)


def list_infosets(game) -> dict[str, tuple[int, list[float], list[int]]]:
    """Returns the player, the tensor and the legal actions of every information set."""
    infosets, states = {}, [game.new_initial_state()]
    while states:
        state = states.pop()
        if not state.is_terminal() and not state.is_chance_node():
            player = state.current_player()
            name = state.information_state_string(player)
            if name not in infosets:
                infosets[name] = player, state.information_state_tensor(player), state.legal_actions()
        states += [] if state.is_terminal() else [state.child(action) for action in state.legal_actions()]
    return infosets


def average_policy(agents, infosets):
    """Returns the average policies of the agents as a tabular policy."""
    table = {}
    for seat, agent in enumerate(agents):
        own = [(name, tensor, legal) for name, (player, tensor, legal) in infosets.items() if player == seat]
        with torch.no_grad():
            logits = agent._avg_network(torch.tensor([tensor for _, tensor, _ in own])).numpy()
        for (name, _, legal), row in zip(own, logits, strict=True):
            weights = np.exp(row[legal] - row[legal].max())
            table[name] = list(zip(legal, map(float, weights / weights.sum()), strict=True))
    return pyspiel.TabularPolicy(table)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
