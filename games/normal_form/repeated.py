"""Repeated games in normal form, for players who remember the last round.

The iterated prisoner's dilemma with memory one (Press and Dyson 2012, PNAS 109:10409; as in Foerster et al. 2018,
arXiv:1709.04326). Instead of continuing for ever with discount gamma, a game ends after each round with probability 1 -
gamma; its expected undiscounted return is the discounted return of the endless game. All payoffs are multiplied by 1 -
gamma, so that the return is the mean payoff of a round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from games.normal_form.catalogue import load_classic
from games.normal_form.payoff_files import load_payoffs
from marl_engine.configuration import outside
from marl_engine.numerics.checks import check_fields
from marl_engine.numerics.rng import GOLDEN, mix_bits, to_unit_interval
from marl_engine.teams import are_opposed
from marl_engine.types import Turn

ENDING_STREAM = 0x2545F4914F6CDD1D  # separates random numbers for endings from those of policies


@dataclass
class RepeatedGame:
    """A classic two-player game with equal numbers of actions by name, or `payoffs` (2, A, A) from a file.

    An observation (B, P, 1) int32 is the number of the state from the seat's point of view: 0 in the first round,
    afterwards 1 + own action * A + the other's action, both of the last round.

    Raises ValueError for an unknown game, a game without two players with the same actions, and an invalid discount.
    """

    name: str = outside("prisoners_dilemma", folders=False)
    payoffs: str | None = outside(None)  # a file
    discount: float = 0.96  # gamma: the probability that a round is followed by another
    device: str = "cpu"

    players: int = field(init=False, default=2)
    actions: int = field(init=False)
    states: int = field(init=False)  # S = 1 + A * A
    observation_shape: tuple[int, ...] = field(init=False, default=(1,))
    symmetric: bool = field(init=False)
    competitive: bool = field(init=False)

    def __post_init__(self) -> None:
        earns = torch.from_numpy(load_classic(self.name) if self.payoffs is None else load_payoffs(self.payoffs))
        if len(earns) != 2 or earns.shape[1] != earns.shape[2]:
            raise ValueError(
                f"an iterated game is one of two players with equally many actions, not of payoffs {tuple(earns.shape)}"
            )
        check_fields("game", self, "discount", least=0, below=1)
        self.actions = earns.shape[1]
        self.states = 1 + self.actions**2
        self.symmetric = torch.equal(earns[0], earns[1].T)
        self.competitive = are_opposed(earns.flatten(1).T)
        self.earns = (1 - self.discount) * earns.flatten(1).to(self.device)  # (2, A * A)
        pairs = torch.arange(1, self.states, device=self.device).view(self.actions, self.actions)
        first = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.sides = torch.stack([torch.cat([first, each.flatten()]) for each in (pairs, pairs.T)])  # (2, S)
        self.features = torch.eye(self.states)
        self.reset(first)

    def reset(self, seeds: Tensor) -> Turn:
        """Opens as many copies as there are seeds; the length of copy b is a function of seeds[b]."""
        return self.restore({"at": torch.zeros_like(seeds), "rounds": torch.zeros_like(seeds), "seeds": seeds})

    def state(self) -> dict[str, Tensor]:
        """Returns each copy's state from the point of view of seat 0 (B,), number of rounds (B,) and seed (B,)."""
        return {"at": self.at.clone(), "rounds": self.rounds.clone(), "seeds": self.seeds.clone()}

    def restore(self, state: Mapping[str, Tensor]) -> Turn:
        self.at, self.rounds, self.seeds = (state[name].to(self.device).clone() for name in ("at", "rounds", "seeds"))
        return self._turn(torch.zeros(len(self.at), 2), torch.zeros(len(self.at), dtype=torch.bool))

    def step(self, actions: Tensor) -> Turn:
        """Plays actions (B, 2) int64. Raises ValueError, and plays nothing, for illegal actions."""
        if ((actions < 0) | (actions >= self.actions)).any():
            raise ValueError(f"actions must be from 0 to {self.actions - 1}")
        pair = (actions[:, 0] * self.actions + actions[:, 1]).to(self.device)
        self.rounds += 1
        done = to_unit_interval(mix_bits(mix_bits(self.seeds ^ ENDING_STREAM) + GOLDEN * self.rounds)) >= self.discount
        self.at = (1 + pair).masked_fill(done, 0)
        return self._turn(self.earns[:, pair].T, done)

    def values(self, strategies: Sequence[Tensor]) -> Tensor:
        """Returns the expected returns (..., 2) of strategies (..., S, A) float64. Twice differentiable.

        The return is r · (1 - gamma) d (1 - gamma T)^-1, the mean payoff of a round. d (A * A,) is the distribution of
        action pairs in the first round, and T[i, j] the probability of pair j after pair i.
        """
        own, other = (each[..., side, :] for each, side in zip(strategies, self.sides, strict=True))
        chances = (own[..., :, None] * other[..., None, :]).flatten(-2)  # (..., S, A * A)
        identity = torch.eye(self.states - 1, dtype=chances.dtype, device=chances.device)
        occupancy = torch.linalg.solve((identity - self.discount * chances[..., 1:, :]).mT, chances[..., 0, :])
        return occupancy @ self.earns.T

    def _turn(self, reward: Tensor, done: Tensor) -> Turn:
        games = len(self.at)
        return Turn(
            observation=self.sides[:, self.at].T[..., None].int(),
            legal=torch.ones(games, 2, self.actions, dtype=torch.bool, device=self.device),
            acting=torch.ones(games, 2, dtype=torch.bool, device=self.device),
            reward=reward.float().to(self.device),
            shaping=torch.zeros(games, 2, device=self.device),
            done=done.to(self.device),
            truncated=torch.zeros(games, dtype=torch.bool, device=self.device),
        )
