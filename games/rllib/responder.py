"""The responder that learns by an algorithm of RLlib, with policies of this engine, against any opponents.

RLlib plays and learns; the weights are those of the profile, before and after each step. So every solver that trains a
profile by a responder can do so by RLlib, and the run that it leaves is evaluated, rated and resumed like any other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from games.rllib.export import import_rllib
from marl_engine.capabilities import capabilities_of, spaces_of
from marl_engine.extensive_form.regularised import BEHAVIORAL
from marl_engine.numerics.checks import check_choices, check_fields
from marl_engine.numerics.schedules import Schedule, parse_schedule
from marl_engine.numerics.state import get_fields, set_fields
from marl_engine.policies.cnn import CNNSpec
from marl_engine.policies.mixtures.population import is_learnable
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.recurrent import RecurrentSpec
from marl_engine.policies.weights import Snapshot, load_snapshot, take_snapshot
from marl_engine.responders.ppo import LARGEST
from marl_engine.responders.regulariser import check_objective
from marl_engine.types import UNREGULARISED, Game, Metrics, Objective, Opponents, Profile, Step, Work


@dataclass
class RLlibResponder:
    """Learns by `algorithm` from `num_envs` copies of the game, about `rollout_length` steps of each in an iteration.

    Raises ValueError for hyperparameters out of range, and for policies that the algorithm does not learn. RLlib is
    needed, and imported, when learning begins; Refused is raised if it is not installed.
    """

    STATE = ("work",)
    divergence = BEHAVIORAL

    game: Game
    network: MLPSpec | CNNSpec | RecurrentSpec
    seed: int = 0
    device: str = "cpu"
    algorithm: str = "PPO"
    num_envs: int = 32  # B
    rollout_length: int = 64  # T
    env_runners: int = 0  # processes of RLlib that play; 0: the process of the run plays
    learning_rate: float = 1e-3
    discount: float = 0.99  # gamma
    shaping: Any = 0.0  # weight of the game's shaping rewards
    payoff_scale: float = 0.1  # factor on payoffs
    training: dict[str, Any] = field(default_factory=dict)  # further arguments of RLlib's `AlgorithmConfig.training`

    def __post_init__(self) -> None:
        check_choices("responder", self, algorithm=tuple(ALGORITHMS))
        check_fields("responder", self, "num_envs", "rollout_length", least=1, whole=True)
        check_fields("responder", self, "env_runners", least=0, whole=True)
        check_fields("responder", self, "learning_rate", "payoff_scale", above=0)
        check_fields("responder", self, "discount", least=0, most=1)
        self.schedule: Schedule = parse_schedule(self.shaping, "responder.shaping")
        self._check_kinds()
        extensive = capabilities_of(self.game).extensive
        self.form = None if extensive is None or extensive.form.sequences > LARGEST else extensive.form
        self.work, self.supports = Work(steps=0), frozenset({"opponents", "mixtures"})
        self.trainer: Any = None  # a `trainer.Trainer`
        self.saved: Any = None  # state of a learner that is to be restored

    def respond(
        self, profile: Profile, opponents: Opponents | None = None, objective: Objective = UNREGULARISED
    ) -> Step:
        """Moves the profile by one iteration of the algorithm; see `Responder`."""
        check_objective(self, opponents, objective)
        environment, start = import_rllib("lineup_env", "responder=rllib"), perf_counter()
        shaping = self.schedule.at(self.work["steps"])
        losses, played = self._trainer(profile).train(environment.Lineup(opponents, shaping, self.payoff_scale))
        work = Work(steps=played.steps)
        self.work.update(work)
        return Step(losses | mean_payoffs(played.payoffs) | {"seconds/learn": perf_counter() - start}, work)

    def snapshot(self, profile: Profile) -> tuple[Snapshot, Any]:
        """See `Responder`."""
        return take_snapshot(profile), self._trainer(profile).learner_state()

    def rollback(self, profile: Profile, snapshot: tuple[Snapshot, Any]) -> None:
        """See `Responder`."""
        load_snapshot(snapshot[0], profile)
        self._trainer(profile).load_learner_state(snapshot[1])

    def prepare(self, profile: Profile) -> None:
        """See `Responder`."""
        if all(map(is_learnable, profile)):
            self._trainer(profile)
        else:
            self._stop()

    def state(self) -> dict[str, Any]:
        """Returns the work, and the state of RLlib's learner if there is one. Games under way are not saved."""
        return {**get_fields(self), "learner": self.saved if self.trainer is None else self.trainer.learner_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned; a learner that does not exist yet is restored when it is made."""
        set_fields(self, state)
        self.saved = state["learner"]
        if self.trainer is not None and self.saved is not None:
            self._load_saved()

    def _check_kinds(self) -> None:
        """Raises ValueError if the algorithm does not learn policies of this kind, or does not play the game."""
        name, action = type(self.game).__name__, spaces_of(self.game).action
        if isinstance(self.network, RecurrentSpec):
            raise ValueError(
                "RLlib learns from single decisions here, and not from sequences, as policies with memory do: use "
                "policy=network or cnn, or responder=ippo with another solver, such as self_play"
            )
        if isinstance(self.network, CNNSpec) and self.algorithm in ("DQN", "SAC"):
            raise ValueError(
                f"responder.algorithm={self.algorithm} learns policy=network; PPO, APPO and IMPALA learn policy=cnn"
            )
        if (self.algorithm == "DQN" and action.is_box) or (self.algorithm in ("DQN", "SAC") and action.branches):
            raise ValueError(f"{name} has no actions that are numbered, one for each seat, as {self.algorithm} needs")
        needs = {"action_values": self.algorithm == "DQN"}
        if action.is_box:
            needs["squashed"] = self.algorithm == "SAC"
        for key, needed in needs.items():
            if vars(self.network).get(key, False) != needed:
                raise ValueError(f"policy.{key} must be {str(needed).lower()} for responder.algorithm={self.algorithm}")
        if vars(self.network).get("normalise_observations"):
            raise ValueError("policy.normalise_observations must be false: RLlib does not see what a policy observes")
        if self.device != "cpu":
            raise ValueError(f"responder=rllib learns on the CPU; use device=cpu, not {self.device}")

    def _trainer(self, profile: Profile) -> Any:
        """Returns the trainer of a profile; that of another profile ends."""
        if self.trainer is None or self.trainer.profile != list(profile):
            self._stop()
            module = import_rllib("trainer", "responder=rllib")
            self.trainer = module.Trainer(self.game, profile, self.network, self._settings(module))
            if self.saved is not None:
                self._load_saved()
        return self.trainer

    def _load_saved(self) -> None:
        self.trainer.load_learner_state(self.saved)
        self.saved = None

    def _stop(self) -> None:
        if self.trainer is not None:
            self.trainer.stop()
            self.trainer = None

    def _settings(self, module: Any) -> Any:
        """Returns the settings of the algorithm."""
        fragment, training = ALGORITHMS[self.algorithm](self)
        steps = self.num_envs * self.rollout_length
        learning = {"gamma": self.discount, **training, **self.training}
        return module.Settings(self.algorithm, self.seed, self.num_envs, fragment, steps, self.env_runners, learning)


class Defaults(NamedTuple):
    """How an algorithm samples and learns, if `training` does not say otherwise."""

    fragment: int  # steps of each copy that are sampled at a time; 0: as many as a batch needs
    training: dict[str, Any]


def on_policy(responder: RLlibResponder) -> Defaults:
    """PPO: one batch in an iteration, four epochs."""
    steps = responder.num_envs * responder.rollout_length
    batch = {"lr": responder.learning_rate, "train_batch_size_per_learner": steps}
    batch |= {"minibatch_size": -(-steps // 2), "num_epochs": 4}
    losses = {"entropy_coeff": 0.01, "use_kl_loss": False, "clip_param": 0.2, "lambda_": 0.95, "grad_clip": 0.5}
    return Defaults(0, batch | losses)


def asynchronous(responder: RLlibResponder) -> Defaults:
    """IMPALA and APPO: four batches in an iteration."""
    fragment = -(-responder.rollout_length // 4)
    batch = {"lr": responder.learning_rate, "train_batch_size_per_learner": responder.num_envs * fragment}
    return Defaults(fragment, batch | {"entropy_coeff": 0.01, "grad_clip": 0.5})


def replay(responder: RLlibResponder) -> Defaults:
    """DQN and SAC: a batch from the replay buffer for each step of all copies."""
    buffer = {"type": "MultiAgentEpisodeReplayBuffer", "capacity": 50_000}
    batch = {"train_batch_size_per_learner": 256, "replay_buffer_config": buffer}
    if responder.algorithm == "DQN":
        return Defaults(1, batch | {"lr": responder.learning_rate})
    rates = dict.fromkeys(("actor_lr", "critic_lr", "alpha_lr"), responder.learning_rate)
    actions = spaces_of(responder.game).action
    target = {} if actions.is_box else {"target_entropy": 0.3 * log(actions.size)}  # RLlib's is for boxes only
    return Defaults(1, batch | rates | target | {"lr": None})


ALGORITHMS: dict[str, Callable[[RLlibResponder], Defaults]] = {
    "PPO": on_policy,
    "APPO": asynchronous,
    "IMPALA": asynchronous,
    "DQN": replay,
    "SAC": replay,
}


def mean_payoffs(payoffs: list[np.ndarray]) -> Metrics:
    """Returns the mean payoff of each seat, and of all, from those of games (P,), NaN for seats that do not learn."""
    if not payoffs:
        return {}
    rows = np.stack(payoffs)
    means = {
        f"return/{seat}": float(column[~np.isnan(column)].mean())
        for seat, column in enumerate(rows.T)
        if not np.isnan(column).all()
    }
    return means | {"return/mean": sum(means.values()) / len(means)}
