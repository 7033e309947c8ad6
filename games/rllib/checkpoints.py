"""Checkpoints of RLlib as policies: modules that were trained in environments made by `to_rllib`.

RLlib writes checkpoints as pickles, which run code when they are read: load only those that you trust.
"""

import pickle
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchSquashedGaussian
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from games.pettingzoo.export import Table
from marl_engine.capabilities import capabilities_of
from marl_engine.errors import Refused, choice, excerpt
from marl_engine.numerics.distributions.factored import discrete
from marl_engine.numerics.distributions.gaussian import Gaussian, Squashed
from marl_engine.policies.action_values import explore
from marl_engine.types import Game, Memory, Policy, Profile

MODULES = Path("learner_group", "learner", "rl_module")  # in the checkpoint of an algorithm
ARGUMENTS = "class_and_ctor_args.pkl"  # of whatever a folder is a checkpoint of


class ModulePolicy(Policy):
    """A module of RLlib as a policy. It is given what `to_rllib` shows, and legal actions only are played.

    Raises Refused for a module with memory, and for one with other observations or actions than the game.
    """

    def __init__(self, name: str, module: Any, game: Game):
        super().__init__()
        table, first = Table(game, dicts=False), "player_0"
        own, shape = module.observation_space, table.seen.shape[1:]
        self.masks = isinstance(own, spaces.Dict)
        own = own["observations"] if self.masks and "observations" in own.spaces else own
        if module.is_stateful():
            raise Refused(f"{name} has memory; only modules without memory can play here")
        if own.shape not in (shape, (prod(shape),)):
            shown = table.observation_spaces[first]
            raise Refused(f"{name} observes {own}, and to_rllib shows {shown}; connectors of RLlib are not applied")
        if module.action_space != table.action_spaces[first]:
            raise Refused(f"{name} chooses from {module.action_space}, and the game has {table.action_spaces[first]}")
        self.module, self.space, self.shape = module, table.space, own.shape
        self.dtype = torch.from_numpy(np.empty(0, own.dtype)).dtype
        numbered = capabilities_of(game).numbered
        self.features, self.tabular = None if numbered is None else numbered.features.float(), numbered is not None
        numbers = self.space.size if self.space.is_box else len(self.space.branches)
        self.noise_shape = (numbers,) if numbers else ()

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns observations (N, …) as `to_rllib` shows them."""
        if self.features is not None:
            number = observation[:, 0].long()
            observation = self.features[number.clamp(min=0)] * (number >= 0)[:, None]
        return observation.to(self.dtype).reshape(-1, *self.shape)

    @torch.no_grad()
    def forward(self, rows: Tensor, legal: Tensor | None = None, memory: Memory = None) -> tuple[Any, Memory]:
        allowed = torch.ones(len(rows), self.space.size, dtype=torch.bool) if legal is None else legal

        def batch() -> dict[str, Any]:  # modules may change what they are given
            return {Columns.OBS: {"observations": rows, "action_mask": allowed.float()} if self.masks else rows}

        outputs = self.module.forward_inference(batch())
        if Columns.ACTION_DIST_INPUTS not in outputs:
            return explore(self.module.compute_q_values(batch())[QF_PREDS], allowed, 0.0), memory
        inputs = outputs[Columns.ACTION_DIST_INPUTS]
        if self.space.is_box:
            return self._box(inputs), memory
        return discrete(inputs, legal, self.space.branches), memory

    def _box(self, inputs: Tensor) -> Gaussian | Squashed:
        """Returns distributions of means and log standard deviations (N, 2 * D), which are those of an action in [-1,
        1] where the box has ends.
        """
        low, high = self.space.low, self.space.high
        assert low is not None
        assert high is not None
        bounded = low.isfinite() & high.isfinite()
        centre, half = torch.where(bounded, (low + high) / 2, 0.0), torch.where(bounded, (high - low) / 2, 1.0)
        mean, log_std = inputs.chunk(2, dim=-1)
        if issubclass(self.module.get_inference_action_dist_cls(), TorchSquashedGaussian):
            return Squashed(Gaussian(mean, log_std.clamp(-20, 2)), centre, half)
        return Gaussian(centre + half * mean, half.log() + log_std)


def load_checkpoint(text: str, game: Game) -> Profile:
    """Returns a policy for each seat from a checkpoint of RLlib: PATH of an algorithm or a module, or PATH@MODULE.

    The only module of an algorithm plays all seats; several play those that its `policy_mapping_fn` says. Raises
    Refused.
    """
    folder, _, name = text.rpartition("@") if "@" in text and not Path(text).exists() else (text, "", "")
    modules = find_modules(Path(folder))
    if name:
        if name not in modules:
            raise Refused(f"{folder} has no module {name!r}; choose from {choice(name, modules)}")
        modules = {name: modules[name]}
    agents = [f"player_{seat}" for seat in range(game.players)]
    seats = map_agents(Path(folder), agents) if len(modules) > 1 else dict.fromkeys(agents, next(iter(modules)))
    if any(seats.get(agent) not in modules for agent in agents):
        raise Refused(f"{folder} has several modules; say which one plays, like rllib:{folder}@{next(iter(modules))}")
    policies = {each: ModulePolicy(text, load_module(modules[each]), game) for each in dict.fromkeys(seats.values())}
    return [policies[seats[agent]] for agent in agents]


def find_modules(path: Path) -> dict[str, Path]:
    """Returns the folders of the modules in a checkpoint, by name. Raises Refused if there is none."""
    root = path / MODULES if (path / MODULES).is_dir() else path
    inside = {each.parent.name: each.parent for each in sorted(root.glob(f"*/{ARGUMENTS}"))}
    modules = inside or ({root.name: root} if (root / ARGUMENTS).is_file() else {})
    if not modules:
        raise Refused(f"there is no checkpoint of RLlib at {str(path)!r}; write the folder that `save_to_path` made")
    return modules


def load_module(path: Path) -> Any:
    """Returns a module that computes with torch. Raises Refused."""
    try:
        module = RLModule.from_checkpoint(str(path.absolute()))
    except Exception as error:  # whatever its class raises
        raise Refused(f"{path} cannot be loaded: {type(error).__name__}: {excerpt(str(error))}") from error
    if not isinstance(module, TorchRLModule):
        raise Refused(f"{path} is no module of RLlib that computes with torch")
    return module


def map_agents(path: Path, agents: list[str]) -> Mapping[str, str]:
    """Returns the module of each agent, as the configuration in an algorithm's checkpoint says; {} if it does not."""
    file = path / ARGUMENTS
    if not (path / MODULES).is_dir() or not file.is_file():
        return {}
    (state, *_), _ = pickle.loads(file.read_bytes())["ctor_args_and_kwargs"]
    config = AlgorithmConfig.from_state(state)
    return {agent: config.policy_mapping_fn(agent, None) for agent in agents}
