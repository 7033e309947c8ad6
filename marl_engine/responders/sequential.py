"""Sequential updates of the policies of a team: HAPPO (Kuba et al. 2022, arXiv:2109.11251, algorithm 1).

If all policies of a team improve against the old policies of the others, their joint policy may become worse. Here they
learn one after the other, in random order. The advantage A of each is multiplied by the probability ratios of the
policies that have learned before it:

    M = A * prod_j pi_j'(a_j | o_j) / pi_j(a_j | o_j),    j: the seats whose policies have learned already.

Seats that share a policy learn together. Departure from the paper: advantages are those of each seat's own rewards and
critic. In a team with a common payoff and a joint critic this makes no difference.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from marl_engine.responders.batches import SeatBatch
from marl_engine.rollout.likelihood import action_log_probs
from marl_engine.types import Policy


class SequentialRatios:
    """The ratios of the policies that have learned in this iteration, by line-up; all 1 unless `sequential`."""

    def __init__(self, sequential: bool):
        self.sequential = sequential
        self.product: dict[str, Tensor] = {}  # by the name of the line-up, (T, B)

    def order(
        self, groups: Sequence[tuple[Policy, list[int]]], generator: torch.Generator
    ) -> list[tuple[Policy, list[int]]]:
        """Returns policies and their seats in the order in which they learn: random if there are several."""
        self.sequential = self.sequential and len(groups) > 1
        if not self.sequential:
            return list(groups)
        return [groups[place] for place in torch.randperm(len(groups), generator=generator).tolist()]

    def of(self, part: SeatBatch) -> Tensor | None:
        """Returns the ratios so far in a line-up, (T, B); None if no policy has learned yet."""
        return self._ratio(part) if self.product else None

    @torch.no_grad()
    def include(self, policy: Policy, parts: Sequence[SeatBatch]) -> None:
        """Multiplies the ratios of line-ups by those of a policy that has learned in them."""
        for part in parts if self.sequential else ():
            trajectory, ratio = part.trajectory, self._ratio(part)
            for seat in part.seats:
                change = action_log_probs(policy, trajectory, seat) - trajectory.log_prob[..., seat]
                ratio = ratio * change.exp().where(trajectory.acting[..., seat], 1)
            self.product[part.lineup] = ratio

    def _ratio(self, part: SeatBatch) -> Tensor:
        return self.product.get(part.lineup, torch.ones_like(part.trajectory.log_prob[..., 0]))
