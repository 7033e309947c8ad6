"""Games of OpenSpiel (Lanctot et al. 2019, arXiv:1908.09453), solved and played without asking it twice.

The tree of a game is compiled into arrays (see `trees`); then nothing of a game is done in Python: solvers work
on its sequence form, and play is a table look-up for all copies at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from games.openspiel.load import compile_game
from marl_engine.configuration import outside
from marl_engine.extensive_form.sequence_form import SequenceForm, expected_payoffs, realization_plan, uniform_strategy
from marl_engine.extensive_form.tree import CHANCE, END, cumulative_chance
from marl_engine.numerics.checks import check_distributions
from marl_engine.numerics.rng import GOLDEN, mix_bits, to_unit_interval
from marl_engine.types import Turn

CHANCE_STREAM = 0x5DEECE66D  # sets the noise of chance apart from that of policies
RAREST = 1e-3  # probability of games in which somebody decides; play opens games until it has one
LISTED = 10_000  # names of information sets that a message is chosen from


@dataclass
class OpenSpiel:
    """Any game of OpenSpiel that fits into memory, by its own string, such as "leduc_poker(players=3)", or a .efg file.

    An observation (B, P, 1) int32 is the number of an information set for the seat that moves, -1 for the others;
    `features` (I, D) is what OpenSpiel shows there. Payoffs come at the end of a game. One that chance ends before
    anybody decides teaches nothing, so the next one opens at once: its payoff counts in values and in what `reset`
    returns, not in what is learned from.

    Raises ValueError for an unknown game, for one that does not fit, where a player forgets what it did or knew, and
    where (nearly) always nobody decides anything.
    """

    name: str = outside("kuhn_poker", folders=False)
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False)
    observation_shape: tuple[int, ...] = field(init=False, default=(1,))
    symmetric: bool = field(init=False, default=False)  # seats move one after the other

    def __post_init__(self) -> None:
        self.tree, self.form = compile_game(self.name)
        check_decided(self.name, self.form)
        self.legal = self.tree.legal
        self.players, self.actions = self.form.players, self.legal.shape[1]
        self.features, self.start = torch.from_numpy(self.tree.tensor), uniform_strategy(self.form)
        self.place = self.legal.cumsum(1, dtype=np.int32) - 1  # (I, A): which child an action leads to
        self.upto = cumulative_chance(self.tree)
        self.reset(torch.zeros(1, dtype=torch.int64))

    def reset(self, seeds: Tensor) -> Turn:
        """Opens as many copies as there are seeds; chance in copy b is a function of seeds[b]."""
        self._place({"at": torch.zeros_like(seeds), "drawn": torch.zeros_like(seeds), "seeds": seeds})
        return self._turn(*self._settle())

    def state(self) -> dict[str, Tensor]:
        """Where each copy is (B,), how often chance has drawn there (B,), and its seed (B,)."""
        return {
            name: torch.from_numpy(each.copy())
            for name, each in (("at", self.at), ("drawn", self.drawn), ("seeds", self.seeds))
        }

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Goes back to a saved state. Raises ValueError for one that this game cannot be in."""
        at = state["at"].cpu()
        if at.ndim != 1 or any(state[name].shape != at.shape for name in ("drawn", "seeds")):
            raise ValueError(f"a state of {self.name} has one number for each copy, not {tuple(at.shape)}")
        inside = (at >= 0) & (at < len(self.tree.player))
        if not inside.all() or (self.tree.player[at.numpy()] < 0).any():
            raise ValueError(f"the saved state is of another game than {self.name}")
        self._place(state)
        return self._turn(np.zeros((len(self.at), self.players)), np.zeros(len(self.at), bool))

    def _place(self, state: Mapping[str, Tensor]) -> None:
        self.at, self.drawn, self.seeds = (state[name].cpu().numpy().copy() for name in ("at", "drawn", "seeds"))

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
        return self._turn(*self._settle())

    def information_sets(self) -> list[tuple[str, list[str]]]:
        """The names (I,) of information sets and of the legal actions there, as OpenSpiel has them."""
        words = np.split(self.tree.word[self.tree.label], self.legal.sum(1).cumsum()[:-1])
        return [(name, each.tolist()) for name, each in zip(self.tree.name.tolist(), words, strict=True)]

    def tabular(self, strategy: np.ndarray) -> dict[str, list[tuple[int, float]]]:
        """A strategy (S,) as what pyspiel.TabularPolicy is made from: for each information set its actions' chances."""
        starts = self.form.first[:-1]
        return {
            str(name): [(int(action), float(strategy[start + at])) for at, action in enumerate(np.flatnonzero(legal))]
            for name, legal, start in zip(self.tree.name, self.legal, starts, strict=True)
        }

    def strategy(self, policy: Mapping[str, Any]) -> np.ndarray:
        """The strategy (S,) of chances like those of `tabular`, or {action: chance}; what is left out is uniform.

        Raises ValueError for an information set that there is not, and for chances that are none.
        """
        names, strategy = self.tree.name.tolist(), uniform_strategy(self.form)
        strange = next((name for name in set(policy).difference(names)), None)
        if strange is not None:
            near = get_close_matches(str(strange), names[:LISTED], n=3, cutoff=0.0)
            raise ValueError(
                f"{self.name} has no information set {strange!r}; choose from {', '.join(map(repr, near))}, … "
                f"({len(names):,} in all)"
            )
        for name, legal, start in zip(names, self.legal, self.form.first[:-1], strict=True):
            if name in policy:
                actions = np.flatnonzero(legal)
                strategy[start : start + len(actions)] = chances_in(policy[name], actions.tolist(), name)
        return strategy

    def _settle(self) -> tuple[np.ndarray, np.ndarray]:
        """Chance moves, and games that are over open anew, until somebody decides in every copy.

        Returns what the first game that ended in each copy paid (B, P), and where one did (B,).
        """
        tree = self.tree
        reward, done = np.zeros((len(self.at), self.players)), np.zeros(len(self.at), bool)
        while True:
            self._draw()
            over = tree.player[self.at] == END
            if not over.any():
                return reward, done
            first = over & ~done
            reward[first] = tree.payoff[tree.infoset[self.at[first]]]
            done |= over
            self.at[over] = 0

    def _draw(self) -> None:
        """Chance moves until nobody waits for it."""
        tree = self.tree
        while (waits := np.flatnonzero(tree.player[self.at] == CHANCE)).size:
            place = torch.from_numpy(self.drawn[waits] + 1)
            noise = to_unit_interval(
                mix_bits(mix_bits(torch.from_numpy(self.seeds[waits]) ^ CHANCE_STREAM) + GOLDEN * place)
            ).numpy()
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


def check_decided(name: str, form: SequenceForm) -> None:
    """Raises ValueError, and says what a game is worth, where (nearly) always nobody decides anything in it."""
    empty = slice(form.entry[0], form.entry[1])  # what the first player has done nothing in
    idle = form.chance[empty][(form.others[empty] < form.players).all(axis=1)].sum()
    if 1 - idle < RAREST:
        value = expected_payoffs(form, realization_plan(form, uniform_strategy(form)))
        raise ValueError(
            f"in {name} chance alone decides, with probability {idle:.6g}, so there is nothing to solve or to learn; "
            f"it is worth {value.tolist()} to its players"
        )


def chances_in(entry: Any, actions: list[int], name: str) -> list[float]:
    """The chances of actions in an information set, from {action: chance} or pairs. Raises ValueError."""
    place = f"the policy at {name!r}"
    try:
        pairs = [(action, float(chance)) for action, chance in (entry.items() if isinstance(entry, Mapping) else entry)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} must be {{action: chance}} or pairs of them, not {entry!r}") from error
    chances = dict(pairs)
    illegal = [action for action, chance in pairs if action not in actions and chance != 0]
    if illegal or len(chances) < len(pairs):
        fault = f"has the illegal action {illegal[0]!r}" if illegal else "has an action twice"
        raise ValueError(f"{place} {fault}; choose from {actions}")
    found = [chances.get(action, 0.0) for action in actions]
    check_distributions(f"{place}, of actions {actions},", found)
    return found
