"""Policies of this engine in the default modules of RLlib's algorithms, which train them. Observations are rows.

In a module of RLlib an encoder is followed by heads. Here the encoder passes rows on, and the heads are networks of
this engine: critics, and that of the policy itself, so that its weights can be loaded into the policy as they are.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from ray.rllib.algorithms.appo.torch.default_appo_torch_rl_module import DefaultAPPOTorchRLModule
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchMultiCategorical,
    TorchSquashedGaussian,
)
from ray.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor, nn

from games.rllib.rows import RowLayout
from marl_engine.spaces import ActionSpace

UNLIKELY = -1e9  # logit of an illegal action: the losses of RLlib are not defined for -inf
LEAST = -40.0  # log-probability of an illegal action in SAC, which computes log(softmax)


class Encoder(nn.Module):
    """Passes the rows (N, W) of a batch on; those of an actor-critic under the names of both, or with actions."""

    def __init__(self, parts: Sequence[str] = (), with_actions: bool = False):
        super().__init__()
        self.parts, self.with_actions = parts, with_actions

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = batch[Columns.OBS]
        if self.with_actions:
            rows = torch.cat([rows, batch[Columns.ACTIONS]], dim=-1)
        return {ENCODER_OUT: dict.fromkeys(self.parts, rows) if self.parts else rows}


class Head(nn.Module):
    """The outputs (N, K) of a network for rows (N, W); those of illegal actions are `illegal`, if it is given."""

    def __init__(self, network: Any, layout: RowLayout, illegal: float | None = None):
        super().__init__()
        self.network, self.layout, self.illegal = deepcopy(network), layout, illegal

    def forward(self, rows: Tensor) -> Tensor:
        view = self.layout.read(rows)
        outputs: Tensor = self.network(self.network.encode(view.observation, view.seat))
        return outputs if self.illegal is None else outputs.masked_fill(~view.legal, self.illegal)


class PolicyHead(nn.Module):
    """What RLlib's distributions are made of: logits (N, A), or means and log standard deviations (N, 2 * D).

    Logits of illegal actions are `illegal`; with `normalised` they are log-probabilities, and no less than LEAST.
    """

    def __init__(self, policy: Any, layout: RowLayout, space: ActionSpace, illegal: float, normalised: bool = False):
        super().__init__()
        self.policy, self.layout, self.box = deepcopy(policy), layout, space.is_box
        self.illegal, self.normalised = illegal, normalised

    def forward(self, rows: Tensor) -> Tensor:
        view = self.layout.read(rows)
        encoded = self.policy.encode(view.observation, view.seat)
        if self.box:
            distribution: Any = self.policy(encoded)[0]
            gaussian = distribution.inner if self.policy.squashed else distribution
            return torch.cat([gaussian.mean, gaussian.log_std], dim=-1)
        logits: Tensor = self.policy.network(encoded).masked_fill(~view.legal, self.illegal)
        return logits.log_softmax(-1).clamp(min=LEAST) if self.normalised else logits


class ActionCritic(nn.Module):
    """The value (N, 1) of actions of D numbers, given rows with actions (N, W + D): a plain perceptron."""

    def __init__(self, layout: RowLayout, players: int, space: ActionSpace, hidden: Sequence[int]):
        super().__init__()
        self.layout, self.players, self.size = layout, players, space.size
        sizes = [layout.width - 1 - layout.actions + players + space.size, *hidden]
        layers = [each for pair in pairwise(sizes) for each in (nn.Linear(*pair), nn.ReLU())]
        self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, rows: Tensor) -> Tensor:
        view = self.layout.read(rows[:, : -self.size])
        seat = F.one_hot(view.seat, self.players)
        values: Tensor = self.network(
            torch.cat([view.observation.flatten(1).float(), seat.float(), rows[:, -self.size :]], dim=-1)
        )
        return values


class ActorCritic(DefaultAPPOTorchRLModule):  # type: ignore[misc]
    """For PPO, APPO and IMPALA."""

    def setup(self) -> None:
        """Makes the parts that the default module makes from its catalog."""
        policy, layout, space = (self.model_config[name] for name in ("policy", "layout", "space"))
        self.encoder = Encoder([ACTOR, CRITIC])
        self.pi, self.vf = PolicyHead(policy, layout, space, UNLIKELY), Head(self.model_config["critic"], layout)
        self.action_dist_cls = TorchDiagGaussian if space.is_box else TorchCategorical
        if space.branches:
            self.action_dist_cls = TorchMultiCategorical.get_partial_dist_cls(input_lens=list(space.branches))

    @property
    def policy(self) -> Any:
        """The policy that learns."""
        return self.pi.policy


class ActionValues(DefaultDQNTorchRLModule):  # type: ignore[misc]
    """For DQN. Values of illegal actions are -inf, as its exploration expects."""

    def setup(self) -> None:
        """Makes the parts that the default module makes from its catalog."""
        self.uses_dueling, self.uses_double_q, self.num_atoms = False, self.model_config["double_q"], 1
        self.epsilon_schedule = Scheduler(self.model_config["epsilon"], framework="torch")
        self.encoder = Encoder()
        self.af = Head(self.model_config["policy"].network, self.model_config["layout"], -torch.inf)
        self.action_dist_cls = TorchCategorical

    @property
    def policy(self) -> Any:
        """The policy that learns, by its network."""
        return self.af


class SoftActorCritic(DefaultSACTorchRLModule):  # type: ignore[misc]
    """For SAC, with two critics: of all actions, or of an action of numbers."""

    def setup(self) -> None:
        """Makes the parts that the default module makes from its catalog."""
        policy, layout, space = (self.model_config[name] for name in ("policy", "layout", "space"))
        self.twin_q = True
        self.pi_encoder, self.pi = Encoder(), PolicyHead(policy, layout, space, UNLIKELY, normalised=True)
        self.qf_encoder, self.qf_twin_encoder = Encoder(with_actions=space.is_box), Encoder(with_actions=space.is_box)
        self.qf, self.qf_twin = (deepcopy(each) for each in self.model_config["critic"])
        self.action_dist_cls = TorchSquashedGaussian if space.is_box else TorchCategorical

    @property
    def policy(self) -> Any:
        """The policy that learns."""
        return self.pi.policy
