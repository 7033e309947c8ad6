"""An algorithm of RLlib with the policies of a profile as its modules."""

import atexit
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.algorithms import APPOConfig, DQNConfig, IMPALAConfig, PPOConfig, SACConfig
from ray.rllib.algorithms.impala.impala_learner import IMPALALearner
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from games.rllib.lineup_env import Lineup, LineupEnv, Played
from games.rllib.modules import ActionCritic, ActionValues, ActorCritic, Head, SoftActorCritic
from games.rllib.rows import RowLayout, layout_of
from marl_engine.capabilities import spaces_of
from marl_engine.errors import Halted, Refused, describe, excerpt
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.weights import states_equal
from marl_engine.rollout.seating import group_by_policy
from marl_engine.runners.ray import connect
from marl_engine.types import Game, Metrics, Profile

KINDS = {  # RLlib's registry would import all of its algorithms, and DreamerV3 warns of an environment of its own
    "PPO": (PPOConfig, ActorCritic),
    "APPO": (APPOConfig, ActorCritic),
    "IMPALA": (IMPALAConfig, ActorCritic),
    "DQN": (DQNConfig, ActionValues),
    "SAC": (SACConfig, SoftActorCritic),
}
LOGGERS = ("ray", "ray.rllib", "ray.tune")  # which comment on every start
EARLIER = count()  # trainers made in this process; each registers an environment of its own


class Settings(NamedTuple):
    """How an algorithm plays and learns."""

    algorithm: str
    seed: int
    num_envs: int  # copies of the game in all processes
    fragment: int  # steps of each copy that are sampled at a time
    steps: int  # of an iteration
    env_runners: int  # processes that play; 0: this one
    training: Mapping[str, Any]  # arguments of `AlgorithmConfig.training`


class Trainer:
    """Trains copies of the policies of a profile, with critics that `network`, the spec of these policies, makes."""

    def __init__(self, game: Game, profile: Profile, network: Any, settings: Settings):
        self.profile = list(profile)
        self.names = {policy: f"policy_{number}" for number, (policy, _) in enumerate(group_by_policy(profile))}
        self.known = {name: deepcopy(policy.state_dict()) for policy, name in self.names.items()}
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        connect(None, settings.env_runners + 1)
        config = self._configure(game, network, settings)
        try:
            self.algorithm = config.build_algo(use_copy=False)
        except ValueError as error:
            raise Refused(f"RLlib refuses responder.training: {excerpt(str(error))}") from error
        self.errors: list[Exception] = []  # of a thread that learns
        self.algorithm.learner_group.foreach_learner(lambda each: guard_thread(each, self.errors))
        atexit.register(self.stop)  # before Ray itself ends
        with suppress(OSError):
            Path(self.algorithm.logdir).rmdir()  # an empty folder in the user's home

    def _configure(self, game: Game, network: Any, settings: Settings) -> Any:
        """Returns the configuration of the algorithm. Raises Refused for unknown arguments of `training`."""
        layout, algorithm = layout_of(deepcopy(game)), settings.algorithm
        config_class, module_class = KINDS[algorithm]
        config: Any = config_class()
        try:
            config.training(**settings.training)
        except TypeError as error:
            raise Refused(f"responder.training: {error}") from error
        if algorithm == "APPO":
            config.training(use_circular_buffer=False)  # a batch is learned from once, and before the next one
        shared = {"layout": layout, "space": spaces_of(game).action}
        if algorithm == "DQN":
            shared |= {"epsilon": config.epsilon, "double_q": config.double_q}
        specs = {
            name: RLModuleSpec(
                module_class=module_class,
                model_config={"policy": policy, "critic": make_critic(algorithm, game, network, layout), **shared},
            )
            for policy, name in self.names.items()
        }
        seats = [self.names[policy] for policy in self.profile]
        config.environment(register_game(game, layout, settings.seed), disable_env_checking=True)
        config.framework("torch")
        config.env_runners(
            num_env_runners=settings.env_runners,
            num_envs_per_env_runner=-(-settings.num_envs // max(1, settings.env_runners)),
            rollout_fragment_length=settings.fragment or "auto",
        )
        config.learners(num_learners=0)  # this process learns, so that weights are those of the whole iteration
        config.multi_agent(policies=set(specs), policy_mapping_fn=lambda agent, *_, **__: seats[int(agent[7:])])
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
        config.reporting(
            min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=settings.steps, log_gradients=False
        )
        config.debugging(seed=settings.seed, log_level="ERROR")
        config.normalize_actions, config.clip_actions = algorithm == "SAC", False  # SAC acts in [-1, 1]
        return config

    def train(self, lineup: Lineup) -> tuple[Metrics, Played]:
        """Plays with a line-up and learns for an iteration of RLlib, in place; returns losses, and what was played.

        Raises Halted if the thread in which RLlib learns has failed.
        """
        self._load()
        group = self.algorithm.env_runner_group
        group.foreach_env_runner(lambda runner: seat(runner, lineup))
        result = self.algorithm.train()
        if self.errors:
            raise Halted(f"learning by RLlib failed: {excerpt(describe(self.errors[0]))}") from self.errors[0]
        played = [each for each in group.foreach_env_runner(take_played) if each is not None]
        self._store()
        return losses_of(result, self.names.values()), join(played)

    def stop(self) -> None:
        """Ends the processes of the algorithm."""
        atexit.unregister(self.stop)
        self.algorithm.stop()

    def _load(self) -> None:
        """Loads the weights of the policies into the algorithm, if others have changed them."""
        weights = {name: policy.state_dict() for policy, name in self.names.items()}
        if all(states_equal(weights[name], known) for name, known in self.known.items()):
            return
        self.algorithm.learner_group.foreach_learner(lambda learner: load_policies(learner, weights))
        self._sync()

    def _store(self) -> None:
        """Loads the weights of the algorithm into the policies."""
        names = list(self.names.values())
        result = next(iter(self.algorithm.learner_group.foreach_learner(lambda each: policy_weights(each, names))))
        self.known = deepcopy(result.get())
        for policy, name in self.names.items():
            policy.load_state_dict(self.known[name])

    def _sync(self) -> None:
        """Gives the weights of the learner to those who play."""
        learners = self.algorithm.learner_group
        self.algorithm.env_runner_group.sync_weights(from_worker_or_learner_group=learners, inference_only=True)

    def learner_state(self) -> dict[str, Any]:
        """Returns the weights and the optimisers of RLlib's learner, as a tree of tensors for a checkpoint."""
        result = next(iter(self.algorithm.learner_group.foreach_learner(lambda each: each.get_state())))
        state = result.get()
        return {"rl_module": to_tensors(state["rl_module"]), "optimizer": to_tensors(state["optimizer"])}

    def load_learner_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `learner_state` returned."""
        arrays = to_arrays(state)
        self.algorithm.learner_group.foreach_learner(lambda each: each.set_state(arrays))
        self._sync()


def make_critic(algorithm: str, game: Game, network: Any, layout: RowLayout) -> Any:
    """Returns what an algorithm learns besides a policy: nothing, a critic, or the two critics of SAC."""
    if algorithm == "DQN":
        return None
    if algorithm != "SAC":
        return network.critic(game, False)
    space = spaces_of(game).action
    if space.is_box:
        return [ActionCritic(layout, game.players, space, network.hidden) for _ in range(2)]
    return [Head(network.perceptron(game, network.hidden, game.actions, gain=1.0), layout) for _ in range(2)]


def register_game(game: Game, layout: RowLayout, seed: int) -> str:
    """Registers the environment of a game with RLlib; returns its name there."""
    copies = count()

    def make_env(context: Any) -> LineupEnv:
        own = derive_seeds(seed, 1) + 1_000_003 * context.worker_index + next(copies)
        return LineupEnv(game, layout, int(own.abs() % 2**31))

    name = f"marl_engine_{next(EARLIER)}"
    register_env(name, make_env)
    return name


def copies_of(runner: Any) -> list[LineupEnv]:
    """Returns the copies of the game that an environment runner plays."""
    return [] if runner.env is None else [each.unwrapped for each in runner.env.unwrapped.envs]


def seat(runner: Any, lineup: Lineup) -> None:
    """Seats a line-up in all copies of an environment runner."""
    for copy in copies_of(runner):
        copy.next_lineup = lineup


def take_played(runner: Any) -> Played | None:
    """Returns what an environment runner has played since the last call; None if it plays nothing."""
    played = [copy.take_played() for copy in copies_of(runner)]
    return join(played) if played else None


def join(played: Sequence[Played]) -> Played:
    """Returns what was played in all copies."""
    return Played(sum(each.steps for each in played), [payoff for each in played for payoff in each.payoffs])


def guard_thread(learner: Any, errors: list[Exception]) -> None:
    """Makes the thread of a learner of IMPALA or APPO survive an exception, and adds this to `errors`.

    It learns nothing any more then, but takes batches: RLlib would wait for a dead thread for ever.
    """
    if not isinstance(learner, IMPALALearner):
        return
    thread: Any = learner._learner_thread
    update = thread._update_method

    def guarded(**arguments: Any) -> None:
        if errors:
            return
        try:
            update(**arguments)
        except Exception as error:
            errors.append(error)

    thread._update_method = guarded


def module_of(learner: Any, name: str) -> Any:
    """Returns a module of a learner."""
    return learner.module[name].unwrapped()


def load_policies(learner: Any, weights: Mapping[str, Any]) -> None:
    """Loads weights into the policies of a learner, by name."""
    for name, state in weights.items():
        module_of(learner, name).policy.load_state_dict(state)


def policy_weights(learner: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the weights of the policies of a learner by name, when it has learned from all that it was given."""
    if isinstance(learner, IMPALALearner):  # learns in a thread
        while learner._learner_thread_in_queue.unfinished_tasks:
            if not learner._learner_thread.is_alive():
                raise Halted("the thread in which RLlib learns has ended")
            sleep(0.001)
    return {name: module_of(learner, name).policy.state_dict() for name in names}


def losses_of(result: Mapping[str, Any], names: Any) -> Metrics:
    """Returns the means over modules of the losses and the entropy that RLlib reports."""
    rows = [result.get("learners", {}).get(name, {}) for name in names]
    metrics: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name.endswith("_loss") and name != "total_loss":
                metrics.setdefault(f"loss/{name.removesuffix('_loss')}", []).append(float(value))
            if name == "entropy":
                metrics.setdefault(name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in metrics.items()}


def to_tensors(tree: Any) -> Any:
    """Returns a tree with tensors in place of arrays."""
    if isinstance(tree, Mapping):
        return {str(key): to_tensors(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [to_tensors(each) for each in tree]
    return torch.from_numpy(np.array(tree)) if isinstance(tree, np.ndarray | np.generic) else tree


def to_arrays(tree: Any) -> Any:
    """Returns a tree with arrays in place of tensors, and whole numbers as keys where they were."""
    if isinstance(tree, Mapping):
        return {int(key) if key.isdigit() else key: to_arrays(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [to_arrays(each) for each in tree]
    return tree.numpy() if isinstance(tree, torch.Tensor) else tree
