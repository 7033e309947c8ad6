"""Gymnasium's environments of teams, such as lbforaging and rware, as parallel environments of PettingZoo.

All agents act at once. Spaces, observations, actions and rewards are sequences with an entry for each agent; an episode
ends for all of them.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import gymnasium
from pettingzoo import ParallelEnv

from marl_engine.errors import Refused, choice

LISTED = 5  # names in a suggestion


def find_team(package: str, name: str) -> Callable[..., Any]:
    """Returns the function that makes an environment which a package registers. Raises Refused for unknown names."""
    import_module(package)  # registers its environments
    own = [each for each, spec in gymnasium.registry.items() if str(spec.entry_point).startswith(package)]
    if name not in own:
        near = ", ".join(f"{package}.{each}" for each in choice(name, own).split(", ")[:LISTED])
        raise Refused(f"{package} has no environment {name!r}; choose from {near}, … ({len(own):,} in all)")
    return partial(TeamEnv, name)


class TeamEnv(ParallelEnv):
    """A team that Gymnasium knows by name; `arguments` are those of the environment."""

    metadata: ClassVar = {"name": "team", "render_modes": ["rgb_array"]}

    def __init__(self, name: str, render_mode: str | None = None, **arguments: Any):
        self.name, self.render_mode = name, render_mode
        self.env = gymnasium.make(name, disable_env_checker=True, **arguments)
        spaces = zip(self.env.observation_space, self.env.action_space, strict=True)  # type: ignore[call-overload]
        pairs = {f"agent_{number}": pair for number, pair in enumerate(spaces)}
        self.possible_agents = list(pairs)
        self.agents: list[str] = []
        self.observation_spaces = {agent: seen for agent, (seen, _) in pairs.items()}
        self.action_spaces = {agent: done for agent, (_, done) in pairs.items()}

    def observation_space(self, agent: str) -> Any:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Starts an episode; returns observations and infos by agent."""
        for player in vars(self.env.unwrapped).get("players", ()):
            player.position = None  # lbforaging lets nobody begin where somebody was before, whatever the seed
        observations, _ = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
        """Plays the actions of all agents; returns what a `ParallelEnv` returns."""
        observations, rewards, over, cut, _ = self.env.step([actions[agent] for agent in self.possible_agents])
        ends = self._by_agent([bool(over)] * len(actions)), self._by_agent([bool(cut)] * len(actions))
        self.agents = [] if over or cut else self.agents
        infos: dict[str, Any] = {agent: {} for agent in self.possible_agents}
        return self._by_agent(observations), self._by_agent(rewards), *ends, infos

    def render(self) -> Any:
        """Returns a picture, for which these environments need a display."""
        return self.env.unwrapped.render("rgb_array")  # type: ignore[call-arg]

    def close(self) -> None:
        self.env.close()

    def __str__(self) -> str:
        return self.name

    def _by_agent(self, several: Any) -> dict[str, Any]:
        return dict(zip(self.possible_agents, several, strict=True))
