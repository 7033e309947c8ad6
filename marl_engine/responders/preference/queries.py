"""Comparisons as pure jobs: copies of a judge whose verdicts depend on the question alone can be asked by workers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from marl_engine.capabilities import PreferenceGame
from marl_engine.errors import Halted
from marl_engine.types import Runner


class Judge(Protocol):
    """Says which answer is better; prefers(x, a, b) + prefers(x, b, a) = 1 and prefers(x, a, a) = 1/2.

    A class may declare `antisymmetric = True` if this holds by construction; others are tested. It may declare
    `pure = True` if a verdict is a function of prompt and answers, and its objects can be pickled; see `QueryGame`.
    """

    def prefers(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
        """Returns P(first is better), (N,) float64, for N prompts with two answers each.

        Raises Halted if it cannot be determined.
        """
        ...


class Queries(NamedTuple):
    """N comparisons by a judge: the argument of a job."""

    judge: Judge
    prompts: Sequence[str]
    firsts: Sequence[str]
    seconds: Sequence[str]


class QueryGame(PreferenceGame, Protocol):
    """A preference game with a judge of texts, who may be asked without the game."""

    def list_queries(self, numbers: Tensor, firsts: Sequence[Any], seconds: Sequence[Any]) -> Queries | None:
        """Returns the comparisons of two answers to each prompt (N,).

        Returns None if `prefers` must be called in the process of the run, since the judge keeps state or counts costs.
        """


def ask_judge(queries: Queries) -> np.ndarray:
    """Returns the judge's probabilities (N,) that the first answer is preferred. Raises Halted."""
    return check_chances(queries.judge.prefers(*queries[1:]), len(queries.prompts))


def ask_in_shards(queries: Queries, size: int, runner: Runner) -> np.ndarray:
    """Returns what `ask_judge` returns, by a job for each shard of `size` comparisons."""
    judge, *columns = queries
    starts = range(0, len(queries.prompts), size)
    shards = [Queries(judge, *(column[start : start + size] for column in columns)) for start in starts]
    return np.concatenate(runner.map(ask_judge, shards))


def check_chances(chances: Any, count: int) -> np.ndarray:
    """Returns a judge's probabilities as float64 (N,). Raises Halted if they are not N numbers in [0, 1]."""
    rule = f"the judge must give a chance between 0 and 1 for each of {count} comparisons, and gave"
    try:
        array = np.asarray(chances, float)
    except (ValueError, TypeError) as error:
        raise Halted(f"{rule} what are no numbers: {error}") from error
    if array.shape != (count,):
        raise Halted(f"{rule} an array of shape {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():
        place = int(np.flatnonzero(~((array >= 0) & (array <= 1)))[0])
        raise Halted(f"{rule} {array[place]} for the one at {place}")
    return array
