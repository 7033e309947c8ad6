"""Games as environments of RLlib; see `to_rllib`.

Only seats that act are observed. With masks, an observation is a dict with `observations` and `action_mask`, as RLlib's
`ActionMaskingTorchRLModule` reads it. Shaping rewards are in the infos. One copy of the game is played.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from games.pettingzoo.export import Table
from marl_engine.types import Game


class RLlibEnv(MultiAgentEnv):  # type: ignore[misc]
    """One copy of a game."""

    def __init__(self, game: Game, masks: bool, flat: bool, shaping: float):
        super().__init__()
        self.table, self.masks, self.flat, self.shaping = Table(game, dicts=False), masks, flat, shaping
        self.possible_agents, self.agents = list(self.table.agents), list(self.table.agents)
        boxes: dict[str, Any] = self.table.observation_spaces
        self.action_spaces, self.observation_spaces = self.table.action_spaces, boxes
        if flat:
            self.observation_spaces = {
                agent: spaces.Box(float(box.low.min()), float(box.high.max()), (box.low.size,), np.float32)
                for agent, box in boxes.items()
            }
        if masks:
            size = (self.table.space.size,)
            self.observation_spaces = {
                agent: spaces.Dict({"observations": space, "action_mask": spaces.Box(0.0, 1.0, size, np.float32)})
                for agent, space in self.observation_spaces.items()
            }

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Opens a game; without a seed it is another one each time."""
        self.table.open(seed)
        self.agents = list(self.possible_agents)
        movers = self._movers()
        return {agent: self._observe(agent) for agent in movers}, {agent: self._info(agent) for agent in movers}

    def step(self, action_dict: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """Plays the actions of the seats that act. When the game is over, all seats are observed once more."""
        turn = self.table.step({self.table.seat[agent]: action for agent, action in action_dict.items()})
        done, cut, present = bool(turn.done), bool(turn.truncated), list(self.agents)
        gone = {agent for agent in present if turn.alive is not None and not turn.alive[0, self.table.seat[agent]]}
        rewards = {agent: self._reward(agent) for agent in present}
        seen = present if done else [agent for agent in self._movers() if agent in present]
        observations = {agent: self._observe(agent) for agent in {*seen, *gone}}
        ended = {agent: (done and not cut) or agent in gone for agent in present} | {"__all__": done and not cut}
        truncated = dict.fromkeys(present, done and cut) | {"__all__": done and cut}
        infos = {agent: self._info(agent) for agent in observations}
        self.agents = present if done else [agent for agent in present if agent not in gone]
        return observations, rewards, ended, truncated, infos

    def render(self) -> Any:
        """Returns a picture (H, W, 3) uint8, if the game can be drawn."""
        drawable: Any = self.table.game
        return drawable.render(0)

    def _movers(self) -> list[str]:
        return [agent for agent, seat in self.table.seat.items() if self.table.turn.acting[0, seat]]

    def _observe(self, agent: str) -> Any:
        seat = self.table.seat[agent]
        seen = self.table.observe(seat)
        seen = seen.astype(np.float32).ravel() if self.flat else seen
        return {"observations": seen, "action_mask": self.table.mask(seat).astype(np.float32)} if self.masks else seen

    def _reward(self, agent: str) -> float:
        seat, turn = self.table.seat[agent], self.table.turn
        return turn.reward[0, seat].item() + self.shaping * turn.shaping[0, seat].item()

    def _info(self, agent: str) -> dict[str, Any]:
        return {"shaping": self.table.turn.shaping[0, self.table.seat[agent]].item()}
