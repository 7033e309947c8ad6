"""The strategies of policies of any kind in games in sequence form."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marl_engine.capabilities import ExtensiveGame, TabulatedGame
from marl_engine.extensive_form.sequence_form import SequenceForm, behavior_strategy
from marl_engine.policies.mixtures.population import MixturePolicy
from marl_engine.policies.tabular import TablePolicy, seat_plan, stack_tables, tabulate_policy
from marl_engine.types import Policy, Profile


def extract_strategy(game: ExtensiveGame, profile: Profile) -> np.ndarray:
    """Returns the strategy (S,) of tables, of policies that answer in every information set, or of mixtures."""
    if all(isinstance(policy, TablePolicy) for policy in profile):
        return stack_tables(profile)
    parts: dict[int, np.ndarray] = {}
    for policy in dict.fromkeys(profile):
        seats = [seat for seat, each in enumerate(profile) if each is policy]
        parts |= zip(seats, extract_seat_strategies(game, policy, seats), strict=True)
    return np.concatenate([np.ones(game.players), *(parts[seat] for seat in range(game.players))])


def extract_seat_strategies(game: ExtensiveGame, policy: Policy, seats: Sequence[int]) -> list[np.ndarray]:
    """Returns the part (n,) of that strategy that belongs to each of the seats of a policy."""
    if isinstance(policy, TablePolicy):
        return [policy.strategy.cpu().numpy() for _ in seats]
    if isinstance(policy, MixturePolicy):
        return [mean_strategy(game, policy, seat) for seat in seats]
    return tabulate_policy(game, policy, seats)


def mean_strategy(game: ExtensiveGame, mixture: MixturePolicy, seat: int) -> np.ndarray:
    """Returns the strategy (n,) of one seat whose plan is the mean of the plans of a mixture's members."""
    form, span = game.form, seat_sequences(game.form, seat)
    plan = np.ones(form.sequences)
    plan[span] = sum(
        weight * seat_plan(form, extract_seat_strategies(game, member, [seat])[0], span)
        for member, weight in zip(mixture.members, mixture.mixture.tolist(), strict=True)
    )
    return behavior_strategy(form, plan)[span]


def seat_sequences(form: SequenceForm, seat: int) -> slice:
    """The sequences of one seat."""
    return slice(int(form.first[form.begin[seat]]), int(form.first[form.begin[seat + 1]]))


def extract_seat_logits(game: TabulatedGame, policy: Policy, seat: int, begin: int, end: int) -> Tensor:
    """Returns logits (end - begin + 1, A) of a policy in a seat's information sets, and when others move (last)."""
    if isinstance(policy, MixturePolicy):
        logits = torch.full((end - begin, game.actions), -torch.inf)
        strategy = torch.from_numpy(mean_strategy(game, policy, seat))
        logits[torch.from_numpy(game.legal[begin:end])] = strategy.log().float()
        return torch.cat([logits, torch.zeros(1, game.actions)])
    numbers = torch.cat([torch.arange(begin, end), torch.tensor([-1])])
    legal = torch.cat([torch.from_numpy(game.legal[begin:end]), torch.ones(1, game.actions, dtype=torch.bool)])
    rows = policy.encode(numbers[:, None].int(), torch.full_like(numbers, seat))
    distribution: Any = policy(rows, legal)[0]
    return distribution.logits
