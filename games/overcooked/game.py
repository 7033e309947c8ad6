"""Overcooked as a `Game`: B kitchens stepped and observed by the compiled rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from games.overcooked import layouts, rules
from games.overcooked.cook_needs import Plan
from games.overcooked.cooks import COOKS, cook_distribution, make_plan
from marl_engine.configuration import outside
from marl_engine.numerics.threads import split_rows
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Turn

SHARE = 512  # minimum number of games for each core
THREADS = 64  # of a CUDA block
ACTIONS = ("north", "south", "east", "west", "stay", "interact")
UNSIGNED = np.uint16  # how the rules read rows; torch has fewer operations for it than for int16


@dataclass
class Overcooked:
    """The rules and the lossless encoding of overcooked-ai 1.1.0 (Carroll et al. 2019, arXiv:1910.05789).

    Observations are bytes (B, P, width, height, 26), each seat's own cook first. Every seat earns what the team earns,
    usually 20 for a soup. Actions: north, south, east, west, stay, interact. Levels (N,) int64 are the steps at which
    the clocks of games begin; see `Staggered`.

    On a GPU kitchens are stepped by a CUDA kernel if numba-cuda is installed (`pip install 'marl_engine[cuda]'`),
    otherwise by the CPU. Turns are on the device in both cases.

    Raises ValueError for an unknown or malformed layout and for a horizon below 1.
    """

    layout: str = outside("cramped_room", folders=False)
    horizon: int = 400  # steps of a game; its last 40 steps are marked in the observation
    old_dynamics: bool | None = None  # a full pot starts by itself; None: if every order takes a full pot
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False, default=6)
    observation_shape: tuple[int, ...] = field(init=False)
    spaces: Spaces = field(init=False)
    symmetric: bool = field(init=False, default=False)  # cooks start at different places
    bots: tuple[str, ...] = field(init=False, default=())
    slow_bots: tuple[str, ...] = field(init=False, default=tuple(COOKS))  # scripted cooks; see `cooks`
    win_or_lose: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not 1 <= self.horizon < 2**15:
            raise ValueError(f"game.horizon must be from 1 to {2**15 - 1} steps, not {self.horizon}")
        self.kitchen = layouts.compile_layout(self.layout, horizon=self.horizon, old_dynamics=self.old_dynamics)
        self.players = self.kitchen.players
        width = self.kitchen.terrain.size // self.kitchen.height
        self.observation_shape = (width, self.kitchen.height, self.kitchen.channels)
        self.spaces = Spaces(self.observation_shape, ActionSpace(self.actions, names=ACTIONS), torch.uint8)
        self.rows = torch.empty(0)
        self.step_device = self.device if compiles_for(self.device) else "cpu"
        self._kitchen_on_gpu: rules.Kitchen | None = None
        self.reset(torch.zeros(1, dtype=torch.int64))

    def reset(self, seeds: Tensor, levels: Tensor | None = None) -> Turn:
        """Opens as many kitchens as there are seeds. Overcooked has no chance moves, so all of a level are alike."""
        rows = torch.from_numpy(self.kitchen.start).repeat(len(seeds), 1)
        turn = self.restore({"rows": rows})
        return turn if levels is None else self.restart(torch.arange(len(seeds)), levels)

    def restart(self, copies: Tensor, levels: Tensor) -> Turn:
        """Sets the clocks of copies (N,) whose games have just opened; see `LevelGame`. Raises ValueError."""
        if levels.ndim != 1 or levels.dtype != torch.int64 or ((levels < 0) | (levels >= self.horizon)).any():
            raise ValueError(f"levels of Overcooked are steps from 0 to {self.horizon - 1}, int64")
        if not levels.any():
            return self._last_turn
        rows = self.rows.clone()
        rows[copies.to(rows.device), 0] = levels.to(rows)
        return self.restore({"rows": rows})

    def state(self) -> dict[str, Tensor]:
        """Returns rows (B, numbers) int16, one for each kitchen; see `rules` for their meaning."""
        return {"rows": self.rows.clone()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        rows = state["rows"].cpu().clone()
        observation = torch.empty(len(rows), self.players, self.kitchen.picture.shape[1], dtype=torch.uint8)
        rules.observe_games(self.kitchen, rows.numpy().view(UNSIGNED), observation.numpy(), 0, len(rows))
        self.rows = rows.to(self.step_device)
        zero = torch.zeros(len(rows), self.players, device=self.device)
        self._legal = torch.ones(len(rows), self.players, self.actions, dtype=torch.bool, device=self.device)
        self._acting = self._legal[..., 0]
        self._never = torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        return self._turn(observation.to(self.step_device), zero, zero.clone(), self._never)

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, P) int64: 0 north, 1 south, 2 east, 3 west, 4 stay, 5 interact.

        Raises ValueError, and plays nothing, for other numbers.
        """
        actions = actions.to(self.step_device)
        self._check(actions)
        games = len(self.rows)
        observation = self._empty_observation(games)
        reward, shaping = torch.empty(2, games, self.players, device=self.step_device)
        done = torch.empty(games, dtype=torch.bool, device=self.step_device)
        step = self._step_on_cuda if self.rows.is_cuda else self._step_on_cores
        step(actions.contiguous(), observation, reward, shaping, done)
        return self._turn(observation, reward, shaping, done)

    def bot_actions(self, bot: str, noise: Tensor) -> Tensor:
        """Returns the actions (B, P) of a scripted cook, from uniform numbers (B, P)."""
        distribution = cook_distribution(self.kitchen, self._cook_plan, self.rows, COOKS[bot])
        return distribution.sample(noise.cpu().flatten())[0].view_as(noise).to(noise.device)

    @cached_property
    def _cook_plan(self) -> Plan:
        return make_plan(self.kitchen)

    def render(self, copy: int = 0, caption: str = "") -> np.ndarray:
        """Returns a picture (H, W, 3) uint8 of kitchen `copy`. The default caption is its step."""
        from games.overcooked.render import draw

        row = self.rows[copy].cpu().numpy()
        return draw(self.kitchen, row, caption or f"step {row[0]}")

    def _check(self, actions: Tensor) -> None:
        """Raises ValueError for invalid actions. The compiled rules use them as indices without checks."""
        shape = (len(self.rows), self.players)
        if actions.dtype != torch.int64 or actions.shape != shape:
            raise ValueError(f"actions must be int64 {shape}, not {actions.dtype} {tuple(actions.shape)}")
        if actions.is_cuda:
            valid = bool(((actions >= 0) & (actions < self.actions)).all())
        else:
            valid = actions.contiguous().numpy().view(np.uint64).max() < self.actions  # one pass: -1 becomes large
        if not valid:
            wrong = actions[(actions < 0) | (actions >= self.actions)][0]
            raise ValueError(f"actions of Overcooked are from 0 to {self.actions - 1}; there is {wrong} among them")

    def _step_on_cores(self, *tensors: Tensor) -> None:
        """Steps the games on the CPU, a share on each core."""
        arrays = (self.rows.numpy().view(UNSIGNED), *(tensor.numpy() for tensor in tensors))
        split_rows(lambda _, *share: rules.step_games(self.kitchen, *arrays, *share), len(self.rows), SHARE)

    def _step_on_cuda(self, *tensors: Tensor) -> None:
        """Steps the games on the GPU, one thread for each, in place."""
        from numba import cuda

        from games.overcooked.cuda import step_games

        if self._kitchen_on_gpu is None:
            fields = [cuda.to_device(value) if isinstance(value, np.ndarray) else value for value in self.kitchen]
            self._kitchen_on_gpu = rules.Kitchen._make(fields)
        arrays = [cuda.as_cuda_array(tensor) for tensor in (self.rows, *tensors)]
        arrays[0] = arrays[0].view(UNSIGNED)
        step_games[-(-len(self.rows) // THREADS), THREADS](self._kitchen_on_gpu, *arrays)

    def _empty_observation(self, games: int) -> Tensor:
        """Allocates observations with NumPy, which uses large pages.

        Beyond 32 MB torch's memory is four times slower to write.
        """
        shape = (games, self.players, self.kitchen.picture.shape[1])
        if self.rows.is_cuda:
            return torch.empty(shape, dtype=torch.uint8, device=self.step_device)
        return torch.from_numpy(np.empty(shape, np.uint8))

    def _turn(self, observation: Tensor, reward: Tensor, shaping: Tensor, done: Tensor) -> Turn:
        """Returns a turn on `device` from tensors on `step_device`; observation is (B, P, cells * channels)."""
        observation = observation.view(len(observation), self.players, *self.observation_shape)
        turn = Turn(observation, self._legal, self._acting, reward, shaping, done, self._never)
        self._last_turn = turn if self.device == self.step_device else turn.to(self.device)
        return self._last_turn


def compiles_for(device: str) -> bool:
    """Whether numba can compile the rules for a device. It always can for the CPU."""
    if torch.device(device).type == "cpu":
        return True
    from numba import cuda

    return bool(cuda.is_available())
