"""The most even equilibria: maximum entropy by its dual, checked by another solver and by bounds of duality."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize

from solvers.normal_form.correlated import conditions, max_entropy_correlated
from solvers.normal_form.nash import zero_sum
from solvers.normal_form.regrets import in_range
from solvers.normal_form.selection import dual_value, max_entropy, minimise_dual

KINDS = pytest.mark.parametrize("kind", ["ce", "cce"])


def entropy(p):
    """Returns the entropy of chances of any shape."""
    return -(p[p > 0] @ np.log(p[p > 0]))


def zero_sum_table(seed, members):
    """Returns payoffs (2, A, A) of a zero-sum game: any, antisymmetric, of signs, or with copied members."""
    random = np.random.default_rng(seed)
    payoff = random.normal(size=(members, members))
    payoff = [
        payoff,
        payoff - payoff.T,
        np.sign(payoff - payoff.T),
        payoff[random.integers(0, members, members)],
    ][seed % 4]
    return np.stack([payoff, -payoff])


def maximise_entropy(gains):
    """Returns the largest entropy under conditions (C, N), by sequential quadratic programming."""
    count = gains.shape[1]

    def loss(p):
        return np.sum(p * np.log(np.maximum(p, 1e-300)))

    def slope(p):
        return np.log(np.maximum(p, 1e-12)) + 1

    bounds = [(0, 1)] * count
    where = [LinearConstraint(np.ones(count), 1, 1), LinearConstraint(gains, -np.inf, 0)]
    options = {"maxiter": 1000, "ftol": 1e-10}
    result = minimize(loss, np.full(count, 1 / count), jac=slope, bounds=bounds, constraints=where, options=options)
    assert result.success
    return -result.fun


@KINDS
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 4, 3), (3, 2, 2, 3)])
def test_another_solver_finds_no_larger_and_no_smaller_entropy(kind, shape):
    for seed in range(4):
        payoffs = in_range(np.random.default_rng(seed).normal(size=shape))
        largest = maximise_entropy(conditions(payoffs, kind).toarray())
        assert entropy(max_entropy_correlated(payoffs, kind)) == pytest.approx(largest, abs=1e-5)


def check_certificate(gains):
    """Checks that no distribution can have a larger entropy: any multipliers give an upper bound."""
    p = max_entropy(gains)
    assert (gains @ p).max() < 1e-9
    assert dual_value(gains, minimise_dual(gains)) == pytest.approx(entropy(p), abs=1e-6)
    return p


def test_zero_sum_tables_of_thirty_members_are_solved():
    """Their coarse correlated equilibria have no interior: both marginals are optimal strategies."""
    for seed in range(20):
        payoffs = in_range(zero_sum_table(seed, 30))
        joint = check_certificate(conditions(payoffs, "cce").toarray()).reshape(30, 30)
        row, column = zero_sum(payoffs[0])
        value = row @ payoffs[0] @ column
        assert (joint.sum(1) @ payoffs[0]).min() == pytest.approx(value, abs=1e-7)
        assert (payoffs[0] @ joint.sum(0)).max() == pytest.approx(value, abs=1e-7)


@KINDS
def test_sparse_and_dense_conditions_have_one_solution(kind):
    gains = conditions(in_range(zero_sum_table(1, 8)), kind)
    np.testing.assert_allclose(check_certificate(gains), check_certificate(gains.toarray()), atol=1e-8)


def test_without_conditions_all_are_equal():
    np.testing.assert_allclose(max_entropy(np.zeros((0, 4))), np.full(4, 1 / 4))
