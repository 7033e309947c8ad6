"""Trains Overcooked by RLlib's PPO with the settings of `marl-train game=overcooked`, until a return or a step.

Called by `rllib_compare.py` with the Python of the peer's environment: `rllib_learning.py LAYOUT SEED STEPS TARGET`.
Prints a line of JSON for each iteration in which episodes end: time, steps, and the mean return of these episodes
without shaping rewards. Schedules are those of a run of a million steps. The process steps the games itself.
"""

import json
import sys
import time
import warnings
from typing import Any

LENGTH = 1_000_000  # steps of the schedules
SCALE = 0.1  # of rewards
SETTINGS = {
    "lr": [[0, 2e-3], [LENGTH, 2e-4]],
    "entropy_coeff": [[0, 0.03], [LENGTH, 0.003]],
    "gamma": 0.99,
    "lambda_": 0.95,
    "clip_param": 0.2,
    "use_kl_loss": False,
    "grad_clip": 0.5,
    "grad_clip_by": "global_norm",
}


def train(layout: str, seed: int, steps: int, target: float, answers: Any) -> None:
    """Trains until the return or the number of steps is reached."""
    from ray.rllib.env.multi_agent_env import MultiAgentEnv
    from rllib_ppo import make_algorithm

    from games.overcooked import Overcooked
    from games.rllib import to_rllib

    class Kitchen(MultiAgentEnv):  # type: ignore[misc]
        """Scales rewards, and notes the return of each episode without shaping rewards."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.total = to_rllib(Overcooked(layout), flat=True, shaping=1.0), 0.0
            self.returns: list[float] = []
            self.possible_agents = self.agents = self.inner.possible_agents
            self.observation_spaces, self.action_spaces = self.inner.observation_spaces, self.inner.action_spaces

        def reset(self, **options: Any) -> Any:
            self.total = 0.0
            return self.inner.reset(**options)

        def step(self, actions: Any) -> Any:
            seen, rewards, ended, cut, infos = self.inner.step(actions)
            agent = self.agents[0]  # both earn the same
            self.total += rewards[agent] - self.inner.shaping * infos[agent]["shaping"]
            if ended["__all__"] or cut["__all__"]:
                self.returns.append(self.total)
            return seen, {name: SCALE * reward for name, reward in rewards.items()}, ended, cut, infos

    algorithm, done = make_algorithm(Kitchen, 0, seed, SETTINGS), 0
    kitchens = [each.unwrapped for each in algorithm.env_runner.env.unwrapped.envs]
    while done < steps:
        for kitchen in kitchens:
            kitchen.inner.shaping = max(0.0, 1 - done / LENGTH)
        done += int(algorithm.train()["env_runners"]["num_env_steps_sampled"])
        returns = [kitchen.returns.pop() for kitchen in kitchens if kitchen.returns]
        if returns:
            mean = sum(returns) / len(returns)
            print(json.dumps({"time": time.time(), "steps": done, "return": mean}), file=answers, flush=True)
            if mean >= target:
                break
    algorithm.stop()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # Ray prints, too
    train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), answers)
