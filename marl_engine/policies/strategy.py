"""The strategies of policies of any kind in games in sequence form."""

import numpy as np

from marl_engine.capabilities import ExtensiveGame
from marl_engine.extensive_form.sequence_form import SequenceForm, behavior_strategy
from marl_engine.policies.population_mixture import MixturePolicy
from marl_engine.policies.tabular import TablePolicy, seat_plan, stack_tables, tabulate_policy
from marl_engine.types import Policy, Profile


def extract_strategy(game: ExtensiveGame, profile: Profile) -> np.ndarray:
    """The strategy (S,) of tables, of policies that answer in every information set when asked, or of mixtures."""
    if all(isinstance(policy, TablePolicy) for policy in profile):
        return stack_tables(profile)
    parts = [extract_seat_strategy(game, policy, seat) for seat, policy in enumerate(profile)]
    return np.concatenate([np.ones(game.players), *parts])


def extract_seat_strategy(game: ExtensiveGame, policy: Policy, seat: int) -> np.ndarray:
    """The part (n,) of that strategy that belongs to one seat. A mixture has the mean of its members' plans."""
    if not isinstance(policy, MixturePolicy):
        return policy.strategy.cpu().numpy() if isinstance(policy, TablePolicy) else tabulate_policy(game, policy, seat)
    form, span = game.form, seat_sequences(game.form, seat)
    plan = np.ones(form.sequences)
    plan[span] = sum(
        weight * seat_plan(form, extract_seat_strategy(game, member, seat), span)
        for member, weight in zip(policy.members, policy.mixture.tolist(), strict=True)
    )
    return behavior_strategy(form, plan)[span]


def seat_sequences(form: SequenceForm, seat: int) -> slice:
    """The sequences of one seat."""
    return slice(int(form.first[form.begin[seat]]), int(form.first[form.begin[seat + 1]]))
