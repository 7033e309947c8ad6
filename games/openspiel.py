"""Games of OpenSpiel (Lanctot et al. 2019, arXiv:1908.09453), solved and played without asking it twice.

The tree of a game is compiled into arrays (see `trees`); then nothing of a game is done in Python: solvers work
on its sequence form, and play is a table look-up for all copies at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from games.compiled import compiled
from games.trees import CHANCE, END, within
from marl_engine.noise import GOLDEN, mix, unit
from marl_engine.sequences import uniform
from marl_engine.types import Turn

CHANCE_STREAM = 0x5DEECE66D  # sets the noise of chance apart from that of policies


@dataclass
class OpenSpiel:
    """Any game of OpenSpiel that fits into memory, by its own string, such as "leduc_poker(players=3)".

    An observation (B, P, 1) int32 is the number of an information set for the seat that moves, -1 for the others;
    `features` (I, D) is what OpenSpiel shows there. Payoffs come at the end of a game.

    Raises ValueError for an unknown game, for one that does not fit, and where a player forgets what it did or knew.
    """

    name: str = "kuhn_poker"
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False)
    observation_shape: tuple[int, ...] = field(init=False, default=(1,))
    symmetric: bool = field(init=False, default=False)  # seats move one after the other

    def __post_init__(self) -> None:
        self.tree, self.form = compiled(self.name)
        self.legal = self.tree.legal
        self.players, self.actions = self.form.players, self.legal.shape[1]
        self.features = torch.from_numpy(self.tree.tensor)
        self.place = self.legal.cumsum(1, dtype=np.int32) - 1  # (I, A): which child an action leads to
        self.upto = within(self.tree)
        self.reset(torch.zeros(1, dtype=torch.int64))

    def reset(self, seeds: Tensor) -> Turn:
        """Opens as many copies as there are seeds; chance in copy b is a function of seeds[b]."""
        return self.restore({"at": torch.zeros_like(seeds), "drawn": torch.zeros_like(seeds), "seeds": seeds})

    def state(self) -> dict[str, Tensor]:
        """Where each copy is (B,), how often chance has drawn there (B,), and its seed (B,)."""
        return {
            name: torch.from_numpy(each.copy())
            for name, each in (("at", self.at), ("drawn", self.drawn), ("seeds", self.seeds))
        }

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Goes back to a saved state."""
        self.at, self.drawn, self.seeds = (state[name].cpu().numpy().copy() for name in ("at", "drawn", "seeds"))
        self._draw()
        return self._turn(np.zeros((len(self.at), self.players)), np.zeros(len(self.at), bool))

    def step(self, actions: Tensor) -> Turn:
        """Actions (B, P) int64, of which that of the seat that moves counts.

        Raises ValueError, and moves nobody, for an illegal one.
        """
        tree, copies = self.tree, np.arange(len(self.at))
        mover, infoset = tree.player[self.at], tree.infoset[self.at]
        chosen = actions.cpu().numpy()[copies, mover]
        known = (chosen >= 0) & (chosen < self.actions)
        if not (known.all() and self.legal[infoset, chosen].all()):
            wrong = next(b for b in copies if not (known[b] and self.legal[infoset[b], chosen[b]]))
            choices = np.flatnonzero(self.legal[infoset[wrong]]).tolist()
            raise ValueError(
                f"action {chosen[wrong]} is illegal at {tree.name[infoset[wrong]]!r}; choose from {choices}"
            )
        self.at = tree.to[tree.child[self.at] + self.place[infoset, chosen]].astype(np.int64)
        self._draw()
        done = tree.player[self.at] == END
        reward = np.where(done[:, None], tree.payoff[np.where(done, tree.infoset[self.at], 0)], 0.0)
        self.at[done] = 0
        self._draw()
        return self._turn(reward, done)

    def tabular(self, strategy: np.ndarray) -> dict[str, list[tuple[int, float]]]:
        """A strategy (S,) as what pyspiel.TabularPolicy is made from: for each information set its actions' chances."""
        starts = self.form.first[:-1]
        return {
            str(name): [(int(action), float(strategy[start + at])) for at, action in enumerate(np.flatnonzero(legal))]
            for name, legal, start in zip(self.tree.name, self.legal, starts, strict=True)
        }

    def strategy(self, policy: Mapping[str, Any]) -> np.ndarray:
        """The strategy (S,) of chances like those of `tabular`, or {action: chance}; what is left out is uniform."""
        found = uniform(self.form)
        for name, legal, start in zip(self.tree.name, self.legal, self.form.first[:-1], strict=True):
            if (chances := policy.get(str(name))) is not None:
                actions = np.flatnonzero(legal)
                found[start : start + len(actions)] = [dict(chances).get(int(action), 0.0) for action in actions]
        return found

    def _draw(self) -> None:
        """Chance moves until nobody waits for it."""
        tree = self.tree
        while (waits := np.flatnonzero(tree.player[self.at] == CHANCE)).size:
            place = torch.from_numpy(self.drawn[waits] + 1)
            noise = unit(mix(mix(torch.from_numpy(self.seeds[waits]) ^ CHANCE_STREAM) + GOLDEN * place)).numpy()
            first, stop = tree.child[self.at[waits]], tree.child[self.at[waits] + 1]
            chosen = first.copy()
            # to the first child whose cumulated probability exceeds the noise
            for step in range(1, int((stop - first).max())):
                chosen += (first + step < stop) & (self.upto[np.minimum(first + step, stop) - 1] <= noise)
            self.at[waits] = tree.to[chosen]
            self.drawn[waits] += 1

    def _turn(self, reward: np.ndarray, done: np.ndarray) -> Turn:
        copies, mover, infoset = np.arange(len(self.at)), self.tree.player[self.at], self.tree.infoset[self.at]
        acting = np.zeros((len(self.at), self.players), bool)
        acting[copies, mover] = True
        observation = np.full((len(self.at), self.players, 1), -1, np.int32)
        observation[copies, mover, 0] = infoset
        legal = np.ones((len(self.at), self.players, self.actions), bool)
        legal[copies, mover] = self.legal[infoset]
        return Turn(
            observation=torch.from_numpy(observation),
            legal=torch.from_numpy(legal),
            acting=torch.from_numpy(acting),
            reward=torch.from_numpy(reward).float(),
            shaping=torch.zeros(len(self.at), self.players),
            done=torch.from_numpy(done),
            truncated=torch.zeros(len(self.at), dtype=torch.bool),
        ).to(self.device)
