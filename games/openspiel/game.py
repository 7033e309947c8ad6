"""OpenSpiel's games (Lanctot et al. 2019, arXiv:1908.09453), compiled into arrays for solving and for play.

The tree of a game is traversed once (see `extensive_form.tree`). After that nothing runs in Python for each game:
solvers use the sequence form, and play is a compiled loop over all copies.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from games.gambit.efg import efg_path
from games.openspiel.load import Uncompiled, compile_game, load_sequential
from games.openspiel.narration import Narration
from marl_engine.configuration import outside
from marl_engine.extensive_form.sequence_form import SequenceForm, expected_payoffs, realization_plan, uniform_strategy
from marl_engine.extensive_form.tree_play import (
    GameCopies,
    Outcome,
    advance_copies,
    blank_outcome,
    blank_position,
    empty_choice,
    move_copies,
    play_stretch,
    tree_rules,
    write_observations,
)
from marl_engine.numerics.checks import check_distributions
from marl_engine.numerics.distributions.categorical import normalise
from marl_engine.rollout.rollout import Trajectory
from marl_engine.teams import are_opposed
from marl_engine.types import Turn

RAREST = 1e-3  # smallest probability of games with a decision; play reopens games until it has one
PRESETS = {"connect_four": "connect_four", "dark_hex(board_size=3)": "dark_hex_3x3"}  # of games played through states
LISTED = 10_000  # names of information sets that are compared for a suggestion


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
    competitive: bool = field(init=False)

    def __post_init__(self) -> None:
        self.tree, self.form = compile_game(self.name)
        check_decided(self.name, self.form)
        self.legal = self.tree.legal
        self.players, self.actions = self.form.players, self.legal.shape[1]
        self.features, self.start = torch.from_numpy(self.tree.tensor), uniform_strategy(self.form)
        self.rules, self.competitive = tree_rules(self.tree), are_opposed(self.tree.payoff)
        self.copies = GameCopies(*np.zeros((3, 0), np.uint64))  # None before `reset`, since solvers do not play

    @staticmethod
    def better_preset(values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Returns the preset with which a game is played that does not fit into memory, and why; None if it fits."""
        name = str(values.get("name", OpenSpiel.name))
        try:
            compile_game(name)
        except Uncompiled as reason:
            return PRESETS.get(name, "openspiel_states"), str(reason).partition(";")[0]
        except ValueError:  # it is refused when the game is made
            pass
        return None

    def __deepcopy__(self, memo: dict[int, Any]) -> "OpenSpiel":
        """Copies of its own of the same game, whose arrays are shared, for nobody writes into them."""
        other = copy(self)
        other._place(self.state())
        return memo.setdefault(id(self), other)

    def reset(self, seeds: Tensor) -> Turn:
        """Opens as many copies as there are seeds; chance in copy b is a function of seeds[b]."""
        self._place({"at": torch.zeros_like(seeds), "drawn": torch.zeros_like(seeds), "seeds": seeds})
        outcome = blank_outcome(self.rules, len(seeds))
        advance_copies(self.rules, self.copies, outcome)
        return self._turn(outcome)

    def state(self) -> dict[str, Tensor]:
        """Returns for each copy (B,) its history, the number of chance draws, and its seed."""
        return {
            name: torch.from_numpy(each.view(np.int64).copy())
            for name, each in zip(("at", "drawn", "seeds"), self.copies, strict=True)
        }

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Restores a saved state. Raises ValueError if it is not a state of this game."""
        at = state["at"].cpu()
        if at.ndim != 1 or any(state[name].shape != at.shape for name in ("drawn", "seeds")):
            raise ValueError(f"a state of {self.name} has one number for each copy, not {tuple(at.shape)}")
        inside = (at >= 0) & (at < len(self.tree.player))
        if not inside.all() or (self.tree.player[at.numpy()] < 0).any():
            raise ValueError(f"the saved state is of another game than {self.name}")
        self._place(state)
        return self._turn(Outcome(np.zeros((len(at), self.players), np.float32), np.zeros(len(at), bool)))

    def _place(self, state: Mapping[str, Tensor]) -> None:
        self.copies = GameCopies(*(state[name].cpu().numpy().astype(np.uint64) for name in ("at", "drawn", "seeds")))

    def step(self, actions: Tensor) -> Turn:
        """Takes actions (B, P) int64, of which that of the seat that moves counts.

        Raises ValueError for an illegal action; then no copy is changed.
        """
        expected = (len(self.copies.seed), self.players)
        if actions.shape != expected or actions.dtype != torch.int64:
            raise ValueError(f"actions must be int64 {expected}, not {actions.dtype} {tuple(actions.shape)}")
        outcome, chosen = blank_outcome(self.rules, len(actions)), actions.cpu().contiguous().numpy()
        wrong = move_copies(self.rules, self.copies, chosen, outcome)
        if wrong >= 0:
            raise self._illegal(self.copies.history[wrong], chosen[wrong])
        return self._turn(outcome)

    def play_tabulated(self, logits: Tensor, seeds: Tensor, clock: int, turns: int) -> tuple[Trajectory, Turn]:
        """Plays on by policies whose logits (I + P, A) are known; see `TabulatedGame`.

        Raises ValueError, and moves nobody, for an illegal action.
        """
        count, rules = len(self.copies.seed), self.rules
        if seeds.shape != (count,):
            raise ValueError(f"there must be a seed for each of {count} copies, not {tuple(seeds.shape)}")
        rows = turns * count
        position, choice, outcome = blank_position(rules, rows), empty_choice(rules, rows), blank_outcome(rules, rows)
        copies = GameCopies(*(each.copy() for each in self.copies))
        shares, log_probs = np.empty((2, *logits.shape), np.float32)
        normalise(logits.numpy(), shares, log_probs)
        noise = seeds.numpy().view(np.uint64)
        wrong = play_stretch(rules, copies, shares, log_probs, noise, clock, position, choice, outcome)
        if wrong >= 0:
            raise self._illegal(copies.history[wrong % count], choice.action[wrong])
        self.copies = copies
        observation, legal, acting, action, log_prob, reward, done = (
            torch.from_numpy(each).unflatten(0, (turns, count)) for each in (*position, *choice, *outcome)
        )
        trajectory = Trajectory(
            observation=observation[..., None],
            legal=None if legal.all() else legal,
            acting=acting,
            action=action,
            log_prob=log_prob,
            reward=reward,
            shaping=torch.zeros_like(reward),
            done=done,
            truncated=torch.zeros_like(done),
            final=None,
        )
        return trajectory, self._turn(Outcome(*(each[-count:].copy() for each in outcome)))

    def _illegal(self, history: int, actions: Any) -> ValueError:
        mover, infoset = self.tree.player[history], self.tree.infoset[history]
        choices = np.flatnonzero(self.legal[infoset]).tolist()
        return ValueError(
            f"action {actions[mover]} is illegal at {str(self.tree.name[infoset])!r}; choose from {choices}"
        )

    def information_sets(self) -> list[tuple[str, list[str]]]:
        """The names (I,) of information sets and of the legal actions there, as OpenSpiel has them."""
        words = np.split(self.tree.word[self.tree.label], self.legal.sum(1).cumsum()[:-1])
        return [(name, each.tolist()) for name, each in zip(self.tree.name.tolist(), words, strict=True)]

    def narrate(self, seed: int) -> Narration | None:
        """The first game of a copy with a seed, in words; None for a .efg file, whose information sets have names."""
        return None if efg_path(self.name) else Narration(load_sequential(self.name), seed)

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

    def _turn(self, outcome: Outcome) -> Turn:
        """The turn that is to be played, after steps with this outcome."""
        position = blank_position(self.rules, len(outcome.done))
        write_observations(self.rules, self.copies, position)
        observation, legal, acting, reward, done = map(torch.from_numpy, (*position, *outcome))
        return Turn(
            observation=observation[..., None],
            legal=legal,
            acting=acting,
            reward=reward,
            shaping=torch.zeros_like(reward),
            done=done,
            truncated=torch.zeros_like(done),
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
    shares = [chances.get(action, 0.0) for action in actions]
    check_distributions(f"{place}, of actions {actions},", shares)
    return shares
