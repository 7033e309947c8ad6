"""The environment in which RLlib trains policies of this engine: a game whose other seats are taken by opponents.

Without opponents all seats learn. With opponents one seat learns, another one in each game, and each game draws a
profile for the other seats; RLlib sees the turns in which the learner acts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from games.pettingzoo.export import Table
from games.rllib.rows import RowLayout
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout.opponents import OpponentSeating, expand_mixtures
from marl_engine.rollout.rollout import draw_noise
from marl_engine.types import Game, Opponents, Turn


class Lineup(NamedTuple):
    """Who plays in the games that open from now on, and what the learners are paid."""

    opponents: Opponents | None = None  # None: all seats learn
    shaping: float = 0.0  # weight of the game's shaping rewards
    payoff_scale: float = 1.0


class Played(NamedTuple):
    """What was played: steps of the game, and the payoffs (P,) of games that ended, NaN where nobody learns."""

    steps: int
    payoffs: list[np.ndarray]


class LineupEnv(MultiAgentEnv):  # type: ignore[misc]
    """One copy of a game, whose observations are rows of a layout."""

    def __init__(self, game: Game, layout: RowLayout, seed: int):
        super().__init__()
        self.table, self.layout = Table(game, dicts=False), layout
        self.table.open(seed)
        self.possible_agents, self.agents = list(self.table.agents), list(self.table.agents)
        box = spaces.Box(-np.inf, np.inf, (layout.width,), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, box)
        self.action_spaces = self.table.action_spaces
        self.lineup = self.next_lineup = Lineup()
        self.seating: OpponentSeating | None = None
        self.seeds, self.clock = derive_seeds(seed, 1), 0  # of the opponents' noise
        self.first = seed % len(self.agents)  # the seat that learned last, where one does
        self.over, self.opens = False, True  # whether the game is done, and whether opponents have not yet moved in it
        self.steps, self.payoffs = 0, list[np.ndarray]()

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Opens a game, and plays it until a learner acts. Games that end before are not seen."""
        if seed is not None:
            self.seeds = derive_seeds(seed, 1)
        if not self.over:
            self.table.open(seed)
        self._open()
        while not self._movers():
            if self._advance({}).done:
                self._open()
        self.over = False
        self.agents = [self.possible_agents[seat] for seat in self.learning]
        return {agent: self._row(agent) for agent in self._movers()}, {agent: {} for agent in self._movers()}

    def step(self, action_dict: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """Plays the actions of learners until one of them acts again, or the game is done.

        When it is done, all learners are observed once more.
        """
        self.paid = np.zeros(len(self.possible_agents))
        turn = self._advance({self.table.seat[agent]: action for agent, action in action_dict.items()})
        while not turn.done and not self._movers():
            turn = self._advance({})
        done, cut, present = bool(turn.done), bool(turn.truncated), list(self.agents)
        gone = {agent for agent in present if turn.alive is not None and not turn.alive[0, self.table.seat[agent]]}
        seen = present if done else [agent for agent in self._movers() if agent in present]
        observations = {agent: self._row(agent) for agent in {*seen, *gone}}
        rewards = {agent: float(self.paid[self.table.seat[agent]]) for agent in present}
        ended = {agent: (done and not cut) or agent in gone for agent in present} | {"__all__": done and not cut}
        truncated = dict.fromkeys(present, done and cut) | {"__all__": done and cut}
        self.over = done
        self.agents = present if done else [agent for agent in present if agent not in gone]
        return observations, rewards, ended, truncated, {agent: {} for agent in observations}

    def take_played(self) -> Played:
        """Returns what was played since the last call."""
        played = Played(self.steps, self.payoffs)
        self.steps, self.payoffs = 0, []
        return played

    def _open(self) -> None:
        """Seats learners and opponents in the game that has just opened."""
        if self.next_lineup is not self.lineup:
            self.lineup, self.seating = self.next_lineup, self._seat(self.next_lineup.opponents)
        players, self.opens = len(self.possible_agents), True
        self.first = (self.first + 1) % players
        self.learning = list(range(players)) if self.seating is None else [self.first]
        self.earned, self.paid = np.zeros(players), np.zeros(players)
        self._show(self.table.turn.observation, self.table.turn.legal)

    def _seat(self, opponents: Opponents | None) -> OpponentSeating | None:
        """Returns the seats of opponents, if there are any."""
        if opponents is None:
            return None
        return OpponentSeating(expand_mixtures(opponents), self.seeds, self.clock, torch.tensor([-1]))

    def _advance(self, chosen: dict[int, Any]) -> Turn:
        """Plays one step with the actions of learners, and those of opponents."""
        before = self.table.turn
        turn = self.table.step(chosen | self._ask_opponents(before))
        self.steps, self.clock = self.steps + 1, self.clock + 1
        alive = 1.0 if before.alive is None else before.alive[0].numpy()
        reward, shaping = turn.reward[0].numpy() * alive, turn.shaping[0].numpy() * alive
        self.earned += reward
        self.paid += self.lineup.payoff_scale * (reward + self.lineup.shaping * shaping)
        if turn.done:
            learns = np.isin(np.arange(len(reward)), self.learning)
            self.payoffs.append(np.where(learns, self.earned, np.nan))
            if turn.final is not None:
                self._show(turn.final, self.legal)
        else:
            self._show(turn.observation, turn.legal)
        return turn

    @torch.no_grad()
    def _ask_opponents(self, turn: Turn) -> dict[int, Any]:
        """Returns the actions of the opponents that act."""
        acting = turn.acting.clone()
        acting[0, self.learning] = False
        if self.seating is None or not acting.any():
            return {}
        noise = draw_noise(self.seating.profile, self.seeds, self.clock, 1)[0]
        action, _ = self.seating.decide(turn._replace(acting=acting, done=torch.tensor([self.opens])), noise)
        self.opens = False
        return {seat: action[0, seat].numpy() for seat in acting[0].nonzero()[:, 0].tolist()}

    def _show(self, observation: Any, legal: Any) -> None:
        """Keeps what seats observe, (1, P, …), and which actions are legal, (1, P, A)."""
        self.observation, self.legal = observation, legal

    def _movers(self) -> list[str]:
        return [self.possible_agents[seat] for seat in self.learning if self.table.turn.acting[0, seat]]

    def _row(self, agent: str) -> np.ndarray:
        seat = self.table.seat[agent]
        return self.layout.write(seat, self.legal[0, seat], self.observation[0, seat])
