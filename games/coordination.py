"""The binary coordination game: a team must agree on one of two conventions, with a valley of poor payoffs between.

Chen and Zhang 2023 (arXiv:2306.01920, section 5). Each seat chooses a bit. The next state consists of these bits, each
flipped with a small probability. States in which nearly all bits are 0 pay 3, states in which nearly all are 1 pay 2,
and those between pay nearly nothing. Departures from the authors' code: the first state is uniform, and a game that is
played, not evaluated exactly, is truncated after `horizon` turns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from games.team_turn import seat_uniforms, team_turn
from marl_engine.capabilities import MarkovRules
from marl_engine.errors import Refused
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits
from marl_engine.types import Turn

OPENINGS = 0x3C6EF372FE94F82B  # separates random numbers for first states from those for transitions
LARGEST_TABLE = 7  # seats: a transition table has 8 ** seats entries


@dataclass
class Coordination:
    """P seats with 2 actions each, and S = 2 ** P states, whose bits are those of the seats, seat 0's the highest.

    Every seat observes the number of the state, (B, P, 1) int32. In each turn it is paid for the state that it observes
    there, whatever it does. Raises ValueError for numbers out of range.
    """

    players: int = 2  # P
    slip: float = 0.1  # the probability that a bit is not the one that its seat chose
    margin: int | None = None  # l: the largest difference between zeros and ones that pays little; None: P / 3
    discount: float = 0.95  # gamma of exact values
    horizon: int = 25  # turns of a game that is stepped
    device: str = "cpu"

    actions: int = field(init=False, default=2)
    observation_shape: tuple[int, ...] = field(init=False, default=(1,))
    symmetric: bool = field(init=False, default=False)  # seats choose different bits

    def __post_init__(self) -> None:
        check_fields("game", self, "players", least=1, most=16, whole=True)
        check_fields("game", self, "horizon", least=1, whole=True)
        check_fields("game", self, "slip", least=0, most=1)
        check_fields("game", self, "discount", least=0, below=1)
        if self.margin is not None:
            check_fields("game", self, "margin", least=0, whole=True)
        margin = max(1, round(self.players / 3)) if self.margin is None else self.margin
        self.places = 2 ** torch.arange(self.players - 1, -1, -1, device=self.device)  # (P,)
        self.bits = torch.arange(2**self.players, device=self.device)[:, None] // self.places % 2  # (S, P)
        self.features = self.bits.float().cpu()
        self.earns = state_payoffs(self.bits, margin)  # (S,)

    def markov_rules(self) -> MarkovRules:
        """Returns the rules as arrays. Raises Refused for teams whose table of transitions is too large."""
        if self.players > LARGEST_TABLE:
            raise Refused(f"game.players must be at most {LARGEST_TABLE} for exact values, not {self.players}")
        slips = (self.bits[:, None] - self.bits).abs()  # (J, S, P)
        chances = torch.where(slips == 1, self.slip, 1 - self.slip).double().prod(-1)  # (J, S)
        states = len(self.bits)
        return MarkovRules(
            opening=torch.full((states,), 1 / states, dtype=torch.float64, device=self.device),
            transition=chances.expand(states, -1, -1),
            payoff=self.earns.double()[:, None].expand(-1, states),
            discount=self.discount,
        )

    def reset(self, seeds: Tensor) -> Turn:
        """Starts as many copies as there are seeds (B,)."""
        zero = torch.zeros_like(seeds)
        return self.restore({"at": self._open(seeds, zero), "clock": zero, "seeds": seeds})

    def state(self) -> dict[str, Tensor]:
        """Returns for each copy the state, the number of turns so far, and the seed, (B,) each."""
        return {name: vars(self)[name].clone() for name in ("at", "clock", "seeds")}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.at, self.clock, self.seeds = (state[name].to(self.device).clone() for name in ("at", "clock", "seeds"))
        return team_turn(self._show(self.at), torch.zeros(len(self.at), device=self.device), self.at < 0, None)

    def step(self, actions: Tensor) -> Turn:
        """Takes actions (B, P) int64. Raises ValueError for an illegal action; then no copy is changed."""
        if ((actions < 0) | (actions > 1)).any():
            raise ValueError("actions must be 0 or 1")
        earned = self.earns[self.at]
        noise = seat_uniforms(self.seeds, self.clock, self.players)
        after = ((actions.to(self.device) ^ (noise < self.slip).long()) * self.places).sum(1)
        self.clock = self.clock + 1
        done = self.clock % self.horizon == 0
        self.at = torch.where(done, self._open(self.seeds, self.clock), after)
        return team_turn(self._show(self.at), earned, done, self._show(after) if done.any() else None)

    def _open(self, seeds: Tensor, clock: Tensor) -> Tensor:
        """Returns the first states (B,) of games that open at turns (B,)."""
        return mix_bits(mix_bits(seeds.to(self.device) ^ OPENINGS) + GOLDEN * (clock + 1)) % len(self.bits)

    def _show(self, states: Tensor) -> Tensor:
        """Returns what the seats observe in states (B,)."""
        return states.int()[:, None, None].repeat(1, self.players, 1)


def state_payoffs(bits: Tensor, margin: int) -> Tensor:
    """Returns the payoff (S,) float32 of states with bits (S, P).

    With z zeros and u ones it is 3 if z > u + margin, 2 if u > z + margin, and otherwise 1 if u > z and 0 if not.
    """
    lead = 2 * bits.sum(1) - bits.shape[1]  # u - z
    agreed = torch.where(lead < 0, 3.0, 2.0)
    return torch.where(lead.abs() <= margin, (lead > 0).float(), agreed)
