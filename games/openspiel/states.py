"""Games of OpenSpiel that do not fit into memory, played through its states (Lanctot et al. 2019, arXiv:1908.09453).

A copy of the game is a `pyspiel.State`. What chance does in it is a function of the copy's seed and the number of
earlier chance draws. The function is that of compiled games (`extensive_form.tree_play`), so a game played in either
way is the same to the bit. A saved copy consists of the decisions in the unfinished game and the number of chance draws
before that game. They are enough to play the game again, because chance then repeats itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.openspiel.bots import act, bots_for, has_constant_sum, is_win_or_lose, slow_bots_for
from games.openspiel.chance import chance_noise, sample
from games.openspiel.load import load_game
from games.openspiel.openings import draw_moves, pick_move
from games.openspiel.views import make_view
from marl_engine.configuration import outside
from marl_engine.types import Turn

CHANCE, SIMULTANEOUS, TERMINAL = -1, -2, -4  # pyspiel.PlayerId
MOST_IDLE = 1000  # games in a row in which nobody decides anything


class Outcome(NamedTuple):
    """The results of a step in B copies; see `Turn`."""

    reward: np.ndarray  # (B, P) float32
    done: np.ndarray  # (B,) bool


@dataclass
class OpenSpielStates:
    """Any game of OpenSpiel by its own string, such as "connect_four", played through states.

    Observations (B, P, …) float32 are OpenSpiel's tensors, of information states or of observations, for seats that
    act; others see zeros. Tensors with three axes (planes, height, width) are turned into images (height, width,
    planes). In simultaneous moves all seats act that have a choice. Rewards are paid as they arise. If chance ends a
    game before anybody decides, the next one opens at once. The level of a copy is an opening of random moves; see
    `openings`.

    Raises ValueError for an unknown game, and for one without such tensors or without explicit chances.
    """

    STATE = ("seeds", "opened", "moves")  # of any length; see `state`

    name: str = outside("phantom_ttt", folders=False)
    observation: str | None = None  # information_state or observation; None: the former, where there is one
    seat_planes: Sequence[int] | None = None  # (P,) the plane of each seat's pieces; see `views.View`
    device: str = "cpu"

    players: int = field(init=False)
    actions: int = field(init=False)
    observation_shape: tuple[int, ...] = field(init=False)
    symmetric: bool = field(init=False, default=False)
    competitive: bool = field(init=False)
    bots: tuple[str, ...] = field(init=False)
    slow_bots: tuple[str, ...] = field(init=False)
    win_or_lose: bool = field(init=False)

    def __post_init__(self) -> None:
        self.game = load_game(self.name)
        from pyspiel import GameType

        self.players, self.actions = self.game.num_players(), self.game.num_distinct_actions()
        self.view = make_view(self.name, self.game, self.observation, self.seat_planes)
        self.observation_shape = self.view.shape
        self.stepwise = self.game.get_type().reward_model == GameType.RewardModel.REWARDS
        self.competitive = has_constant_sum(self.game)
        self.bots, self.slow_bots = bots_for(self.game), slow_bots_for(self.game)
        self.win_or_lose = is_win_or_lose(self.game)
        self.states: list[Any] = []  # B of pyspiel.State
        self.views: np.ndarray  # (B, P, D) what seats are shown in the turn that is to be played
        self.legal: np.ndarray  # (B, P, A) bool
        self.acting: np.ndarray  # (B, P) bool
        self._open_all(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))

    def __reduce__(self) -> Any:
        """Copies, also those for other processes, load the game anew and replay the saved state."""
        return restore_game, (self.name, self.observation, self.seat_planes, self.device, self.state())

    def reset(self, seeds: Tensor, levels: Tensor | None = None) -> Turn:
        """Opens as many copies as there are seeds, at levels (B, 2); chance in copy b is a function of seeds[b]."""
        self._open_all(seeds.cpu(), torch.zeros(len(seeds), dtype=torch.int64))
        outcome = self._blank_outcome()
        self.movers = [self._settle(copy, outcome) for copy in range(len(seeds))]
        if levels is not None:
            self._play_openings(range(len(seeds)), levels)
        return self._turn(outcome)

    def restart(self, copies: Tensor, levels: Tensor) -> Turn:
        """Plays the openings of copies (N,) whose games have just opened; see `LevelGame`."""
        self._play_openings(copies.tolist(), levels)
        self.views, self.legal, self.acting = (each.copy() for each in (self.views, self.legal, self.acting))
        self.views[copies], self.legal[copies], self.acting[copies] = 0, True, False
        self._show(copies.tolist())
        return self._shown_turn(self._blank_outcome())

    def step(self, actions: Tensor) -> Turn:
        """Takes actions (B, P) int64, of which those of the seats that act count.

        Raises ValueError for an illegal action; then no copy is changed.
        """
        choices, outcome, movers = self._check(actions), self._blank_outcome(), self.movers
        for copy, (state, choice) in enumerate(zip(self.states, choices, strict=True)):
            if movers[copy] == SIMULTANEOUS:
                state.apply_actions(choice)
            else:
                state.apply_action(choice[movers[copy]])
            mover = state.current_player()
            movers[copy] = self._settle(copy, outcome) if mover in (CHANCE, TERMINAL) else mover
        if self.stepwise:
            self._pay(outcome)
        return self._turn(outcome)

    def state(self) -> dict[str, Tensor]:
        """Returns for each copy its seed (B,), the chance draws before its game (B,), and its moves (B, L).

        Moves are those of all players in the game under way, one after the other; -1 fills shorter rows.
        """
        moves = [[each.action for each in state.full_history() if each.player != CHANCE] for state in self.states]
        longest = max(map(len, moves), default=0)
        rows = [row + [-1] * (longest - len(row)) for row in moves]
        return {
            "seeds": self.seeds.clone(),
            "opened": torch.tensor(self.opened, dtype=torch.int64),
            "moves": torch.tensor(rows, dtype=torch.int64).view(len(rows), longest),
        }

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        """Restores a saved state. Raises ValueError if it is not a state of this game."""
        self._open_all(state["seeds"].cpu().clone(), state["opened"])
        self.movers = [self._replay(copy, row) for copy, row in enumerate(state["moves"].tolist())]
        for copy, row in enumerate(state["moves"]):
            if self.stepwise and (row >= 0).any():
                self.earned[copy] = self.states[copy].returns()
        return self._turn(self._blank_outcome())

    def narrate(self, seed: int) -> Any:
        """Returns the first game of a copy with a seed, in words."""
        from games.openspiel.narration import Narration  # which takes chance from here

        return Narration(self.game, seed)

    def bot_actions(self, bot: str, noise: Tensor) -> Tensor:
        """Returns the actions (B, P) of a bot in the turn that is to be played, from uniform numbers (B, P)."""
        numbers, actions = noise.tolist(), torch.zeros(noise.shape, dtype=torch.int64)
        for copy, seat in np.argwhere(self.acting).tolist():
            actions[copy, seat] = act(bot, self.states[copy], seat, numbers[copy][seat])
        return actions.to(noise.device)

    def _open_all(self, seeds: Tensor, opened: Tensor) -> None:
        """Opens a game in a copy for each seed, after a number of chance draws (B,)."""
        self.seeds, self.opened = seeds, opened.tolist()
        self.draws = list(self.opened)
        self.noise = [chance_noise(*each) for each in zip(seeds.tolist(), self.opened, strict=True)]
        self.states = [self.game.new_initial_state() for _ in self.opened]
        self.movers = [0] * len(seeds)  # who moves; SIMULTANEOUS: all
        self.earned = np.zeros((len(seeds), self.players))  # what has been paid of the game under way

    def _blank_outcome(self) -> Outcome:
        return Outcome(np.zeros((len(self.states), self.players), np.float32), np.zeros(len(self.states), bool))

    def _settle(self, copy: int, outcome: Outcome) -> int:
        """Plays chance, and opens games that are over anew, until somebody decides; returns who.

        The copy's row of the outcome becomes that of the first game that ended; in later ones nobody has decided.
        """
        state = self.states[copy]
        for _ in range(MOST_IDLE):
            while (mover := state.current_player()) == CHANCE:
                self.draws[copy] += 1
                state.apply_action(sample(state.chance_outcomes(), next(self.noise[copy])))
            if mover != TERMINAL:
                return int(mover)
            if not outcome.done[copy]:
                outcome.done[copy] = True
                outcome.reward[copy] = np.subtract(state.returns(), self.earned[copy])
            self.opened[copy], self.earned[copy] = self.draws[copy], 0.0
            state = self.states[copy] = self.game.new_initial_state()
        raise ValueError(f"in {MOST_IDLE:,} games of {self.name} nobody had anything to decide")

    def _play_openings(self, copies: Sequence[int], levels: Tensor) -> None:
        """Makes the random moves of levels (N, 2) in copies (N,), without a move that would end the game.

        Rewards that arise on the way are not paid.
        """
        for copy, moves in zip(copies, draw_moves(levels, self.players), strict=True):
            for noise in moves:
                state, mover = self.states[copy].clone(), self.movers[copy]
                seats = list(range(self.players)) if mover == SIMULTANEOUS else [mover]
                choice = pick_move(state, seats, noise)
                state.apply_actions(choice) if mover == SIMULTANEOUS else state.apply_action(choice[0])
                if state.is_terminal():
                    break
                self.states[copy] = state
                self.movers[copy] = self._settle(copy, self._blank_outcome())
            if self.stepwise:
                self.earned[copy] = self.states[copy].returns()

    def _replay(self, copy: int, moves: list[int]) -> int:
        """Makes the moves (L,) of a saved game; returns who decides after them. Raises ValueError."""
        outcome, mover, place = self._blank_outcome(), self._settle(copy, self._blank_outcome()), 0
        while place < len(moves) and moves[place] >= 0:
            state, seats = self.states[copy], range(self.players) if mover == SIMULTANEOUS else [mover]
            choice = moves[place : place + len(seats)]
            if len(choice) < len(seats) or any(map(is_illegal, [state] * len(seats), seats, choice)):
                raise ValueError(f"the saved state is of another game than {self.name}")
            state.apply_actions(choice) if mover == SIMULTANEOUS else state.apply_action(choice[0])
            mover, place = self._settle(copy, outcome), place + len(seats)
        if outcome.done[copy]:
            raise ValueError(f"the saved state is of another game than {self.name}")
        return mover

    def _pay(self, outcome: Outcome) -> None:
        """Pays what games under way have earned since the last step."""
        returns = np.array([state.returns() for state in self.states])
        under_way = ~outcome.done
        outcome.reward[under_way] = (returns - self.earned)[under_way]
        self.earned[under_way] = returns[under_way]

    def _check(self, actions: Tensor) -> list[list[int]]:
        """Returns actions (B, P), with 0 for seats that do not act. Raises ValueError for an illegal one."""
        if actions.shape != self.acting.shape or actions.dtype != torch.int64:
            raise ValueError(f"actions must be int64 {self.acting.shape}, not {actions.dtype} {tuple(actions.shape)}")
        chosen = np.where(self.acting, actions.cpu().numpy(), 0)
        inside = np.clip(chosen, 0, self.actions - 1)
        wrong = self.acting & ((inside != chosen) | ~np.take_along_axis(self.legal, inside[..., None], 2)[..., 0])
        if wrong.any():
            copy, seat = np.argwhere(wrong)[0]
            raise ValueError(
                f"action {chosen[copy, seat]} of seat {seat} is illegal in {self.name} after "
                f"{self.states[copy].history()}; choose from {np.flatnonzero(self.legal[copy, seat]).tolist()}"
            )
        result: list[list[int]] = chosen.tolist()
        return result

    def _turn(self, outcome: Outcome) -> Turn:
        """Returns the turn that is to be played, after a step with this outcome."""
        shape = (len(self.states), self.players)
        self.views = np.zeros((*shape, self.view.size), np.float32)
        self.legal, self.acting = np.ones((*shape, self.actions), bool), np.zeros(shape, bool)
        self._show(range(len(self.states)))
        return self._shown_turn(outcome)

    def _show(self, copies: Sequence[int]) -> None:
        """Writes what the seats of some copies observe, may do, and whether they act."""
        rows, actions, widths, shown = [], [], [], bytearray()
        read, everybody = self.view.read, range(self.players)
        for copy in copies:
            state, mover = self.states[copy], self.movers[copy]
            for seat in (mover,) if mover >= 0 else everybody:
                if choices := state.legal_actions(seat):
                    rows.append(copy * self.players + seat)
                    actions += choices
                    widths.append(len(choices))
                    shown += read(state, seat)
        views, legal = (each.reshape(-1, each.shape[2]) for each in (self.views, self.legal))
        views[rows] = np.frombuffer(shown, np.float32).reshape(-1, self.view.size)
        self.acting.reshape(-1)[rows], legal[rows] = True, False
        legal[np.repeat(np.array(rows, np.int64), widths), actions] = True

    def _shown_turn(self, outcome: Outcome) -> Turn:
        """Returns the turn of what has been written, after a step with this outcome."""
        reward, done = torch.from_numpy(outcome.reward), torch.from_numpy(outcome.done)
        return Turn(
            observation=self.view.arrange(torch.from_numpy(self.views)),
            legal=torch.from_numpy(self.legal),
            acting=torch.from_numpy(self.acting),
            reward=reward,
            shaping=torch.zeros_like(reward),
            done=done,
            truncated=torch.zeros_like(done),
        ).to(self.device)


def is_illegal(state: Any, seat: int, action: int) -> bool:
    """Whether a seat may not take an action; a seat without a choice takes 0 in simultaneous moves."""
    return action not in (state.legal_actions(seat) or [0])


def restore_game(*arguments: Any) -> OpenSpielStates:
    """Returns a game with saved copies, from its fields and their state."""
    *fields, state = arguments
    game = OpenSpielStates(*fields)
    if len(state["seeds"]):
        game.restore(state)
    return game
