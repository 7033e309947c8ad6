"""Exact values, gradients and best responses of tabular Bayesian networks in Markov games of a team.

Chen and Zhang 2023 (arXiv:2306.01920, section 4). A team has a table (..., S, K, A) for each seat: the distribution of
its action in each of S states, for each of the K = A^k joint actions of its k parents. In the number of a joint action
the first parent's action is the highest digit. Leading axes, if any, are several teams with the same graph. The J = A^P
joint actions of all seats are numbered in the same way. All numbers are float64.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from marl_engine.capabilities import MarkovRules

Parents = Sequence[tuple[int, ...]]  # of each seat, in ascending order
ROUNDS = 100  # of policy iteration, which ends sooner
CLOSE = 1e-12  # values that differ less are equal


class Evaluation(NamedTuple):
    """What a joint policy is worth."""

    value: Tensor  # (...): expected sum of discounted payoffs
    visits: Tensor  # (..., S): normalised discounted visits of states
    action_values: Tensor  # (..., S, J)


def spread(table: Tensor, seat: int, parents: tuple[int, ...], players: int) -> Tensor:
    """Returns a table (..., S, K, A) with an axis for each seat, (..., S, A, 1, …): of length 1 if it does not matter.

    The axes of the seat itself and of its parents have length A.
    """
    actions, lead, seats = table.shape[-1], table.shape[:-2], (*parents, seat)
    grid = table.reshape(*lead, *[actions] * len(seats))
    order = sorted(range(len(seats)), key=lambda axis: seats[axis])
    grid = grid.permute(*range(len(lead)), *(len(lead) + axis for axis in order))
    return grid.reshape(*lead, *(actions if each in seats else 1 for each in range(players)))


def collect(joint: Tensor, seat: int, parents: Parents) -> Tensor:
    """Returns sums (..., S, K, A) of numbers (..., S, A, …, A) over the actions of seats that are neither the given one
    nor among its parents.
    """
    seats, first = (*parents[seat], seat), joint.ndim - len(parents)
    others = [first + each for each in range(len(parents)) if each not in seats]
    total = joint.sum(others) if others else joint
    total = total.permute(*range(first), *(first + sorted(seats).index(each) for each in seats))
    return total.reshape(*total.shape[:first], -1, total.shape[-1])


def joint_policy(tables: Sequence[Tensor], parents: Parents) -> Tensor:
    """Returns pi(a | s) = prod_i pi_i(a_i | s, a_parents(i)), (..., S, A, …, A) with an axis for each seat."""
    return multiply([spread(table, seat, parents[seat], len(tables)) for seat, table in enumerate(tables)])


def multiply(factors: Sequence[Tensor]) -> Tensor:
    """Returns the product of tensors, in their order."""
    return reduce(torch.mul, factors)


def evaluate(rules: MarkovRules, joint: Tensor, seats: int) -> Evaluation:
    """Returns what a joint policy (..., S, A, …, A) of so many seats is worth, by solving the Bellman equation."""
    policy = joint.reshape(*joint.shape[: joint.ndim - seats], -1)  # (..., S, J)
    moves = torch.einsum("...sj,sjt->...st", policy, rules.transition)
    system = torch.eye(len(rules.opening), dtype=moves.dtype, device=moves.device) - rules.discount * moves
    values = torch.linalg.solve(system, (policy * rules.payoff).sum(-1))
    visits = (1 - rules.discount) * torch.linalg.solve(system.mT, rules.opening.expand_as(values))
    return Evaluation(values @ rules.opening, visits, look_ahead(rules, values))


def look_ahead(rules: MarkovRules, values: Tensor) -> Tensor:
    """Returns the values (..., S, J) of joint actions, followed by states with values (..., S)."""
    return rules.payoff + rules.discount * torch.einsum("sjt,...t->...sj", rules.transition, values)


def policy_gradient(rules: MarkovRules, logits: Sequence[Tensor], parents: Parents) -> list[Tensor]:
    """Returns the gradients of the value in the logits (..., S, K, A) of every seat.

    With softmax tables it is d(s) pi(a_parents | s) pi_i(a_i | s, a_parents) A_i(s, a_parents, a_i) / (1 - gamma). Here
    A_i is the advantage of the conditional expectation of Q: other seats act as they do given these actions, ancestors
    that are not parents included.
    """
    tables = [each.softmax(-1) for each in logits]
    joint = joint_policy(tables, parents)
    worth = evaluate(rules, joint, len(tables))
    visits = worth.visits.view(*worth.visits.shape, *[1] * len(tables)) / (1 - rules.discount)
    weighted = visits * joint * worth.action_values.view_as(joint)
    sums = [collect(weighted, seat, parents) for seat in range(len(tables))]
    return [each - table * each.sum(-1, keepdim=True) for each, table in zip(sums, tables, strict=True)]


def best_response_value(rules: MarkovRules, tables: Sequence[Tensor], parents: Parents, seat: int) -> Tensor:
    """Returns the largest values (...) that teams reach by another table of one seat, by policy iteration."""
    factors = [spread(table, each, parents[each], len(tables)) for each, table in enumerate(tables)]
    others = multiply([torch.ones_like(factors[seat]), *factors[:seat], *factors[seat + 1 :]])
    worth, table = evaluate(rules, multiply(factors), len(tables)), tables[seat]
    for _ in range(ROUNDS):
        sums = collect(others * worth.action_values.view_as(others), seat, parents)
        table = torch.nn.functional.one_hot(sums.argmax(-1), sums.shape[-1]).to(sums.dtype)
        better = evaluate(rules, others * spread(table, seat, parents[seat], len(tables)), len(tables))
        if (better.value - worth.value).abs().max() < CLOSE:
            break
        worth = better
    return better.value


def optimal_value(rules: MarkovRules) -> float:
    """Returns the value of the best joint policy: one seat that chooses all J actions."""
    uniform = torch.full_like(rules.payoff, 1 / rules.payoff.shape[1])[:, None]
    return best_response_value(rules, [uniform], [()], 0).item()


def nash_conv(rules: MarkovRules, tables: Sequence[Tensor], parents: Parents) -> Tensor:
    """Returns the sum (...) over seats of what a team gains by the best other table of that seat."""
    value = evaluate(rules, joint_policy(tables, parents), len(tables)).value
    gains = [best_response_value(rules, tables, parents, seat) - value for seat in range(len(tables))]
    return torch.stack(gains).sum(0)
