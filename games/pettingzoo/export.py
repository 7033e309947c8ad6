"""Games as PettingZoo environments, for other libraries.

    env = to_pettingzoo(Overcooked())                  # a ParallelEnv: all seats act at once
    env = to_pettingzoo(OpenSpiel("kuhn_poker"))       # an AECEnv: seats move in turn
    env = to_pettingzoo(Overcooked(), turns=True)      # an AECEnv in any case

Where seats move in turn, an observation is a dict with `observation` and `action_mask`; otherwise the mask is in the
infos. Shaping rewards are in the infos, too. Seats with unequal spaces have their own, without padding, if the game
declares their sizes (`Spaces`). One copy of the game is played.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec
from torch import Tensor

from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.types import Game, Turn

FIRST = 3  # openings that are looked at to see whether all seats act at once


def to_pettingzoo(game: Game, turns: bool | None = None) -> Any:
    """Returns a game as an `AECEnv` if its seats move in turn, or if `turns`; otherwise as a `ParallelEnv`.

    Raises Refused if a parallel environment is asked for of a game whose seats move in turn.
    """
    together = bool(deepcopy(game).reset(derive_seeds(0, FIRST)).acting.all())
    if not together and turns is False:
        raise Refused(f"the seats of {type(game).__name__} move in turn, so it is no parallel environment")
    if not together:
        return TurnsEnv(game)
    return parallel_to_aec(TogetherEnv(game)) if turns else TogetherEnv(game)


class Table:
    """One copy of a game, with the spaces and the observations of its seats.

    They are padded to the same shapes, unless each seat is to have its own.
    """

    def __init__(self, game: Game, dicts: bool, own: bool = False):
        self.game, self.dicts = deepcopy(game), dicts
        self.able = capabilities_of(game)
        assert self.able.spaces is not None
        self.space = self.able.spaces.action
        self.features = self.able.spaces.observation_sizes if own else ()  # of each seat; (): those of the shape
        self.choices = (self.able.spaces.action_sizes if own else ()) or (self.space.size,) * game.players
        self.agents = [f"player_{seat}" for seat in range(game.players)]
        self.seat = {agent: seat for seat, agent in enumerate(self.agents)}
        self.random = np.random.default_rng()
        self.turn = self.open(0)
        self.seen = self.show(self.turn.observation)
        self.observation_spaces = {agent: self._observation_space(seat) for agent, seat in self.seat.items()}
        self.action_spaces = {agent: self._action_space(seat) for agent, seat in self.seat.items()}

    def open(self, seed: int | None) -> Turn:
        """Starts a game; without a seed it is another one each time."""
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.turn = self.game.reset(torch.tensor([int(self.random.integers(2**62))]))
        self.seen = self.show(self.turn.observation)
        return self.turn

    def step(self, actions: Mapping[int, Any]) -> Turn:
        """Plays the actions of some seats; those of others are 0."""
        space = self.space
        size = space.size if space.is_box else len(space.branches)
        chosen = torch.zeros(
            1, self.game.players, *[size] * bool(size), dtype=torch.float32 if space.is_box else torch.int64
        )
        for seat, action in actions.items():
            numbers = torch.as_tensor(np.asarray(action), dtype=chosen.dtype)
            chosen[0, seat].view(-1)[: numbers.numel()] = numbers.view(-1)
        self.turn = self.game.step(chosen)
        if not self.turn.done.item():
            self.seen = self.show(self.turn.observation)
        elif self.turn.final is not None:
            self.seen = self.show(self.turn.final)
        return self.turn

    def show(self, observation: Tensor) -> np.ndarray:
        """Returns what seats see, (P, …)."""
        if self.able.numbered is None:
            seen = observation[0].cpu().numpy().copy()
            return seen if seen.dtype == np.uint8 else seen.astype(np.float32)
        features = self.able.numbered.features.cpu()
        number = observation[0, :, 0].long().cpu()
        return (features[number.clamp(min=0)] * (number >= 0)[:, None]).float().numpy()

    def observe(self, seat: int, over: bool = False) -> Any:
        """Returns the observation of a seat; where the game is over, no action is legal."""
        seen = self.seen[seat, : self.features[seat]] if self.features else self.seen[seat]
        if not self.dicts:
            return seen
        acts = bool(self.turn.acting[0, seat]) and not over
        return {"observation": seen, "action_mask": self.mask(seat, acts)}

    def mask(self, seat: int, acts: bool = True) -> Any:
        """Returns the mask of a seat's actions (A,) int8, or of each choice of several; zeros if it does not act."""
        mask = self.turn.legal[0, seat, : self.choices[seat]].cpu().numpy().astype(np.int8) * np.int8(acts)
        return tuple(np.split(mask, np.cumsum(self.space.branches)[:-1])) if self.space.branches else mask

    def info(self, seat: int) -> dict[str, Any]:
        """Returns the info of a seat: its mask, unless actions are numbers, and its shaping reward."""
        mask = {} if self.space.is_box else {"action_mask": self.mask(seat)}
        return {**mask, "shaping": self.turn.shaping[0, seat].item()}

    def _observation_space(self, seat: int) -> Any:
        """Returns the space of what a seat sees."""
        box = self._box((self.features[seat],) if self.features else self.seen.shape[1:])
        if not self.dicts:
            return box
        masks = [spaces.Box(0, 1, (size,), np.int8) for size in self.space.branches or (self.choices[seat],)]
        return spaces.Dict(
            {"observation": box, "action_mask": spaces.Tuple(masks) if self.space.branches else masks[0]}
        )

    def _box(self, shape: tuple[int, ...]) -> spaces.Box:
        """Returns the space of observations of a shape."""
        if self.seen.dtype == np.uint8:
            return spaces.Box(0, 255, shape, np.uint8)
        low, high = -np.inf, np.inf
        if self.able.numbered is not None:
            low, high = (float(each) for each in self.able.numbered.features.aminmax())
        return spaces.Box(min(low, 0.0), high, shape, np.float32)

    def _action_space(self, seat: int) -> Any:
        space, size = self.space, self.choices[seat]
        if space.low is not None and space.high is not None:
            return spaces.Box(space.low[:size].cpu().numpy(), space.high[:size].cpu().numpy(), dtype=np.float32)
        return spaces.MultiDiscrete(list(space.branches)) if space.branches else spaces.Discrete(size)


class SharedMembers:
    """What both kinds of environments have in common."""

    def __init__(self, game: Game, dicts: bool):
        super().__init__()
        self.table = Table(game, dicts, own=True)
        self.possible_agents = self.table.agents
        self.agents: list[str] = []
        self.render_mode = "rgb_array" if self.table.able.drawable is not None else None
        self.metadata = {"name": type(game).__name__.lower() + "_v0", "render_modes": ["rgb_array"]}

    def observation_space(self, agent: str) -> Any:
        return self.table.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.table.action_spaces[agent]

    def render(self) -> Any:
        drawable: Any = self.table.game
        return drawable.render(0)

    def close(self) -> None:
        """There is nothing to close."""


class TogetherEnv(SharedMembers, ParallelEnv):  # type: ignore[misc]
    """A game in which all seats act at once."""

    def __init__(self, game: Game):
        super().__init__(game, dicts=False)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        self.table.open(seed)
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos()

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        turn = self.table.step({self.table.seat[agent]: action for agent, action in actions.items()})
        present = list(self.agents)
        done, truncated = turn.done.item(), turn.truncated.item()
        left = [done or (turn.alive is not None and not turn.alive[0, self.table.seat[agent]]) for agent in present]
        rewards = {agent: turn.reward[0, self.table.seat[agent]].item() for agent in present}
        ended = {agent: bool(gone and not truncated) for agent, gone in zip(present, left, strict=True)}
        cut = {agent: bool(gone and truncated) for agent, gone in zip(present, left, strict=True)}
        observations, infos = self._observations(), self._infos()
        self.agents = [agent for agent, gone in zip(present, left, strict=True) if not gone]
        return observations, rewards, ended, cut, infos

    def _observations(self) -> dict[str, Any]:
        return {agent: self.table.observe(self.table.seat[agent]) for agent in self.agents}

    def _infos(self) -> dict[str, dict[str, Any]]:
        return {agent: self.table.info(self.table.seat[agent]) for agent in self.agents}


class TurnsEnv(SharedMembers, AECEnv):  # type: ignore[misc]
    """A game in which seats move in turn; where several act at once, they move in the order of seats."""

    agent_selection: str

    def __init__(self, game: Game):
        super().__init__(game, dicts=True)

    def observe(self, agent: str) -> Any:
        return self.table.observe(self.table.seat[agent], over=any(self.terminations.values()))

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.table.open(seed)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self._skip_agent_selection = None
        self._wait_for_movers()

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        self.chosen[self.table.seat[agent]] = action
        if self.waiting:
            self.agent_selection = self.waiting.pop(0)
        else:
            self._play()
        self._accumulate_rewards()

    def _play(self) -> None:
        """Plays what the movers have chosen."""
        turn = self.table.step(self.chosen)
        for agent in self.agents:
            seat = self.table.seat[agent]
            self.rewards[agent] = turn.reward[0, seat].item()
            gone = bool(turn.done) or (turn.alive is not None and not turn.alive[0, seat])
            self.terminations[agent], self.truncations[agent] = (
                bool(gone and not turn.truncated),
                bool(gone and turn.truncated),
            )
        if turn.done.item():
            self.agent_selection = self.agents[0]
        else:
            self._wait_for_movers()
            self._deads_step_first()

    def _wait_for_movers(self) -> None:
        """Begins a turn, in which one mover after the other chooses."""
        self.chosen: dict[int, Any] = {}
        self.waiting = [agent for agent in self.agents if self.table.turn.acting[0, self.table.seat[agent]]]
        self.agent_selection = self.waiting.pop(0)
