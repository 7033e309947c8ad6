"""Particle worlds as a `Game`: B worlds stepped and observed by the compiled rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature

import numpy as np
import torch
from torch import Tensor

from games.mpe import rules
from games.mpe.scenarios import SCENARIOS, action_counts, action_names, observation_sizes
from games.mpe.world import CLOCK, INTEGERS, OPENINGS, World
from marl_engine.errors import Refused, choice, unknown
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.threads import split_rows
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Turn

SHARE = 1024  # minimum number of worlds for each core
OPTIONS = ("N", "num_good", "num_adversaries", "num_obstacles", "local_ratio", "terminate_on_success")


@dataclass
class ParticleWorlds:
    """The particle worlds of mpe2 1.1.1: simple_spread, simple_tag, simple_reference and simple_speaker_listener.

    Observations are (B, P, O) float32, the actions and rewards those of mpe2. Observations of seats that have fewer
    features are padded with zeros; actions that a seat does not have are not legal. Adversaries and the speaker are the
    first seats. An episode is truncated after `max_cycles` steps. Options that are None have the values of mpe2.

    Raises ValueError for an unknown scenario, an option that it does not have, and numbers out of range.
    """

    scenario: str = "simple_spread"
    N: int | None = None  # simple_spread: agents, and landmarks
    num_good: int | None = None  # simple_tag
    num_adversaries: int | None = None  # simple_tag
    num_obstacles: int | None = None  # simple_tag
    local_ratio: float | None = None  # simple_spread, simple_reference: weight of an agent's own reward
    terminate_on_success: bool | None = None  # simple_spread: an episode is over when all landmarks are covered
    max_cycles: int = 25  # steps of an episode
    continuous_actions: bool = False
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False)
    observation_shape: tuple[int, ...] = field(init=False)
    spaces: Spaces = field(init=False)
    symmetric: bool = field(init=False)
    competitive: bool = field(init=False)  # hunters and prey

    def __post_init__(self) -> None:
        check_fields("game", self, "max_cycles", least=1, whole=True)
        self.world = self._make_world()
        observed, counts = observation_sizes(self.world), action_counts(self.world, self.continuous_actions)
        kinds = list(zip(observed, counts, strict=True))
        self.players, self.actions, self.observation_shape = self.world.agents, max(counts), (max(observed),)
        self.symmetric = len(set(kinds)) == 1
        self.competitive = self.world.hunters > 0
        groups = () if self.symmetric else tuple(list(dict.fromkeys(kinds)).index(kind) for kind in kinds)
        names = action_names(self.world, self.continuous_actions)
        action = ActionSpace(self.actions, names=names)
        if self.continuous_actions:
            action = action._replace(low=torch.zeros(self.actions), high=torch.ones(self.actions))
        sizes = ((), ()) if self.symmetric else (tuple(observed), tuple(counts))
        self.spaces = Spaces(self.observation_shape, action, torch.float32, groups, *sizes)
        self._available = torch.arange(self.actions) < torch.tensor(counts)[:, None]
        self._counts = np.array(counts, np.uint64)
        self.reset(torch.zeros(1, dtype=torch.int64))

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many worlds as there are seeds."""
        numbers = 2 * len(self.world.radius) + (2 + self.world.words) * self.players
        integers, rows = torch.zeros(len(seeds), INTEGERS, dtype=torch.int64), torch.zeros(len(seeds), numbers).double()
        opens = np.ones(len(seeds), bool)
        self.seeds = seeds.cpu().clone()
        rules.open_games(self.world, self._words(), opens, integers.numpy(), rows.numpy())
        return self.restore({"seeds": self.seeds, "integers": integers, "rows": rows})

    def state(self) -> dict[str, Tensor]:
        """Returns the seeds (B,), and the integers (B, 4) and rows of numbers of each world; see `world`."""
        return {"seeds": self.seeds.clone(), "integers": self.integers.clone(), "rows": self.rows.clone()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.seeds, self.integers, self.rows = (state[name].cpu().clone() for name in ("seeds", "integers", "rows"))
        worlds = len(self.seeds)
        self._forces = np.zeros((worlds, self.players, 2))
        self._legal = self._available.expand(worlds, -1, -1).contiguous()
        if self.continuous_actions:
            self._legal = torch.ones_like(self._legal)
        self._acting = torch.ones(worlds, self.players, dtype=torch.bool)
        never = torch.zeros(worlds, dtype=torch.bool)
        return self._turn(self._observe(), torch.zeros(worlds, self.players), never, never, None)

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, P) int64, or continuous ones (B, P, D) float32, which are clipped to [0, 1].

        Raises ValueError, and plays nothing, for invalid actions.
        """
        worlds = len(self.seeds)
        act, array = rules.drive_games if self.continuous_actions else rules.act_games, self._check(actions.cpu())
        observation = torch.from_numpy(np.empty((worlds, self.players, *self.observation_shape), np.float32))
        reward = torch.empty(worlds, self.players)
        done, truncated = torch.empty(2, worlds, dtype=torch.bool)
        results = [tensor.numpy() for tensor in (self.integers, self.rows, observation, reward, done, truncated)]

        def step_share(_: int, first: int, last: int) -> None:
            act(self.world, array, results[1], self._forces, first, last)
            rules.step_games(self.world, self._forces, *results, first, last)

        split_rows(step_share, worlds, SHARE)
        if not done.any():
            return self._turn(observation, reward, done, truncated, None)
        self.integers[:, OPENINGS] += done
        rules.open_games(self.world, self._words(), done.numpy(), *results[:2])
        return self._turn(self._observe(), reward, done, truncated, observation)

    def render(self, copy: int = 0, caption: str = "") -> np.ndarray:
        """Returns a picture (H, W, 3) uint8 of world `copy`. The default caption is its step."""
        from games.mpe.render import draw

        integers = self.integers[copy].tolist()
        return draw(self.world, self.rows[copy].numpy(), integers, caption or f"step {integers[CLOCK]}")

    def _make_world(self) -> World:
        """Returns the world of the scenario, made with the options that are given. Raises ValueError."""
        if self.scenario not in SCENARIOS:
            raise Refused(f"there is no game.scenario={self.scenario}; choose from {choice(self.scenario, SCENARIOS)}")
        make = SCENARIOS[self.scenario]
        options = {name: vars(self)[name] for name in OPTIONS if vars(self)[name] is not None}
        valid = [name for name in signature(make).parameters if name in OPTIONS]
        for name in options:
            if name not in valid:
                raise unknown(name, "game.", [*valid, "max_cycles", "continuous_actions"])
        return make(self.max_cycles, **options)

    def _check(self, actions: Tensor) -> np.ndarray:
        """Returns the actions as the rules read them. Raises ValueError if they are invalid."""
        shape = (len(self.seeds), self.players, *([self.actions] if self.continuous_actions else []))
        if self.continuous_actions:
            if actions.shape != shape or not actions.isfinite().all():
                raise ValueError(f"actions must be {shape} finite numbers, not {tuple(actions.shape)}")
            return actions.float().clamp(0, 1).contiguous().numpy()
        if actions.dtype != torch.int64 or actions.shape != shape:
            raise ValueError(f"actions must be int64 {shape}, not {actions.dtype} {tuple(actions.shape)}")
        array = actions.contiguous().numpy()
        if not (array.view(np.uint64) < self._counts).all():  # as unsigned numbers, negative ones are large
            raise ValueError(f"the seats have {self._counts.tolist()} actions, numbered from 0; others were given")
        return array

    def _words(self) -> np.ndarray:
        """Returns the seeds as unsigned numbers, as the rules read them."""
        return self.seeds.numpy().view(np.uint64)

    def _observe(self) -> Tensor:
        """Returns the observations (B, P, O) of all worlds."""
        observation = torch.from_numpy(np.empty((len(self.seeds), self.players, *self.observation_shape), np.float32))
        rules.observe_games(self.world, self.integers.numpy(), self.rows.numpy(), observation.numpy())
        return observation

    def _turn(self, observation: Tensor, reward: Tensor, done: Tensor, truncated: Tensor, final: Tensor | None) -> Turn:
        """Returns a turn on `device`."""
        shaping = torch.zeros_like(reward)
        turn = Turn(observation, self._legal, self._acting, reward, shaping, done, truncated, final)
        return turn if self.device == "cpu" else turn.to(self.device)
