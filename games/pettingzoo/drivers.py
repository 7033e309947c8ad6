"""Plays one environment turn by turn, whatever its interface.

There are three kinds of environments. In a `ParallelEnv` all agents act at once. An `AECEnv` that PettingZoo's
`aec_to_parallel` has converted is stepped in the same cycles, but without the wrappers: their look-ups of attributes
and unused observations take half of the time. In any other `AECEnv` the agent that moves acts.

Wrappers that only check the order of calls and the range of actions are removed, since neither can be wrong here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

NEUTRAL = (  # wrappers without effect on correct calls with legal actions
    "OrderEnforcingWrapper",
    "AssertOutOfBoundsWrapper",
    "ClipOutOfBoundsWrapper",
    "TerminateIllegalWrapper",
)
NOBODY: Mapping[Any, Any] = {}


class Position(NamedTuple):
    """What agents see before they move, or after the last move."""

    movers: Sequence[Any]  # the agents that move next; nobody: the episode is over
    observations: Mapping[Any, Any]  # of the agents that see something new
    infos: Mapping[Any, Any]
    rewards: Mapping[Any, Any] = NOBODY  # of the last move
    terminations: Mapping[Any, bool] = NOBODY
    truncations: Mapping[Any, bool] = NOBODY
    next_movers: Sequence[Any] = ()  # those who would move if the episode were not over


class Driver(Protocol):
    """An environment that is played."""

    env: Any

    def open(self, seed: int) -> Position:
        """Starts an episode."""
        ...

    def step(self, actions: Mapping[Any, Any]) -> Position:
        """Plays the actions of the agents that move."""
        ...


def drive(env: Any) -> Driver:
    """Returns the driver of an environment."""
    from pettingzoo.utils.conversions import aec_to_parallel_wrapper
    from pettingzoo.utils.env import ParallelEnv

    if isinstance(env, aec_to_parallel_wrapper):
        return Cycles(unwrap(env.aec_env))
    return Parallel(env) if isinstance(env, ParallelEnv) else Moves(unwrap(env))


def unwrap(env: Any) -> Any:
    """Returns an environment without neutral wrappers around it."""
    while type(env).__module__.startswith("pettingzoo.utils.wrappers") and type(env).__name__ in NEUTRAL:
        env = env.env
    return env


class Parallel:
    """All agents act at once."""

    def __init__(self, env: Any):
        self.env = env

    def open(self, seed: int) -> Position:
        observations, infos = self.env.reset(seed=seed)
        return Position(list(self.env.agents), observations, infos)

    def step(self, actions: Mapping[Any, Any]) -> Position:
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        movers = [agent for agent in self.env.agents if not (terminations.get(agent) or truncations.get(agent))]
        return Position(movers, observations, infos, rewards, terminations, truncations, list(observations))


class Cycles:
    """Agents act one after the other, without seeing what the others do, and all see the result."""

    def __init__(self, env: Any):
        self.env = env

    def open(self, seed: int) -> Position:
        self.env.reset(seed=seed)
        agents = list(self.env.agents)
        return Position(agents, {agent: self.env.observe(agent) for agent in agents}, self.env.infos)

    def step(self, actions: Mapping[Any, Any]) -> Position:
        env, rewards = self.env, dict.fromkeys(actions, 0.0)
        for agent, action in actions.items():
            if agent != env.agent_selection:
                raise RuntimeError(f"it is the turn of {env.agent_selection} where a cycle has that of {agent}")
            env.step(action)
            for each, reward in env.rewards.items():
                rewards[each] = rewards.get(each, 0.0) + reward
        agents, terminations, truncations = list(env.agents), dict(env.terminations), dict(env.truncations)
        observations, infos = {agent: env.observe(agent) for agent in agents}, dict(env.infos)
        movers = [agent for agent in agents if not (terminations[agent] or truncations[agent])]
        if movers:
            bury(env)
        return Position(movers, observations, infos, rewards, terminations, truncations, agents)


class Moves:
    """Agents move in turn; what one has seen in its last turn is not updated while others move."""

    def __init__(self, env: Any):
        self.env = env

    def open(self, seed: int) -> Position:
        self.env.reset(seed=seed)
        bury(self.env)
        return self._position()

    def step(self, actions: Mapping[Any, Any]) -> Position:
        env = self.env
        env.step(actions[env.agent_selection])
        rewards, terminations, truncations = dict(env.rewards), dict(env.terminations), dict(env.truncations)
        if all(terminations[agent] or truncations[agent] for agent in env.agents):
            mover = vars(env).get("_skip_agent_selection") or env.agent_selection  # before the dead are selected
            observations = {mover: env.observe(mover)} if any(truncations.values()) else {}
            return Position((), observations, NOBODY, rewards, terminations, truncations, [mover])
        bury(env)
        return self._position()._replace(rewards=rewards, terminations=terminations, truncations=truncations)

    def _position(self) -> Position:
        mover = self.env.agent_selection
        return Position([mover], {mover: self.env.observe(mover)}, self.env.infos)


def bury(env: Any) -> None:
    """Takes the last, empty turns of agents that have left."""
    while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
        env.step(None)
