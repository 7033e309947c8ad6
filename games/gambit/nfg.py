"""Gambit's files of games in normal form, .nfg, of both kinds (its manual, "Game representation formats").

    NFG 1 R "title" { "player 1" "player 2" } { 2 2 }                       1 1  0 3  3 0  2 2
    NFG 1 R "title" { "player 1" "player 2" } { { "a" "b" } { "c" "d" } }   { { "" 1, 1 } { "" 0, 3 } … }  1 2 …

The strategy of player 1 varies fastest. Payoffs stand in a row, those of one combination side by side; or a list of
outcomes has them, and the row has its numbers, 0 for nothing. A comment in quotes may stand before either.
"""

import re
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|["{}]|[^\s{},"]+')


def parsed(text: str) -> np.ndarray:
    """The payoffs (P, A, B, …) of a .nfg file. Raises ValueError."""
    words = nested(text)
    head, tail = words[:6], words[6:]
    if head[:2] != ["NFG", "1"] or head[2:3] not in (["R"], ["D"]):
        raise ValueError("it does not begin with NFG 1 R")
    if len(head) < 6 or not (quoted(head[3]) and isinstance(head[4], list) and isinstance(head[5], list)):
        raise ValueError("after NFG 1 R must come a title, { players } and { strategies }")
    players = len(head[4])
    counts = [len(each) if isinstance(each, list) else int(number(each)) for each in head[5]]
    whole = all(isinstance(each, list) or number(each).is_integer() for each in head[5])
    if len(counts) != players or min(counts, default=0) < 1 or not whole:
        raise ValueError(f"it names {players} players and gives {counts} strategies")
    if tail and quoted(tail[0]):
        tail = tail[1:]
    rows = from_outcomes(tail[0], tail[1:], players) if tail and isinstance(tail[0], list) else payoffs_in(tail)
    wanted = prod(counts)
    if rows.size != wanted * players:
        raise ValueError(f"{wanted} combinations of strategies need {wanted * players} payoffs, not {rows.size}")
    return rows.reshape(*counts[::-1], players).T


def strategy_names(text: str) -> list[list[str]]:
    """What a .nfg file that can be `parsed` calls the strategies of each player; empty where it gives a number."""
    return [[word[1:-1] for word in each] if isinstance(each, list) else [] for each in nested(text)[5]]


def nested(text: str) -> list[Any]:
    """The words of a text, those between braces as a list. Raises ValueError."""
    stack: list[list[Any]] = [[]]
    for word in TOKEN.findall(text):
        if word == '"':
            raise ValueError("a quotation mark is not closed")
        if word == "{":
            stack.append([])
        elif word != "}":
            stack[-1].append(word)
        elif len(stack) > 1:
            stack[-2].append(stack.pop())
        else:
            raise ValueError("a } closes nothing")
    if len(stack) > 1:
        raise ValueError("a { is not closed")
    return stack[0]


def quoted(word: Any) -> bool:
    """Whether a word is a text in quotes."""
    return isinstance(word, str) and word.startswith('"')


def fraction(word: Any) -> Fraction:
    """A number written as 2, -1.5, .5, 1e-3 or 1/3, exactly. Raises ValueError."""
    try:
        value = Fraction(word)
        float(value)  # what is too large for one is no number either
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{word!r} is no number") from error
    return value


def number(word: Any) -> float:
    """A number written as 2, -1.5, .5, 1e-3 or 1/3. Raises ValueError."""
    return float(fraction(word))


def payoffs_in(words: list[Any]) -> np.ndarray:
    """Numbers (N,). Raises ValueError."""
    return np.array([number(word) for word in words])


def from_outcomes(outcomes: list[Any], words: list[Any], players: int) -> np.ndarray:
    """The payoffs (N, P) of the outcomes with these numbers, from 1; 0 pays nothing. Raises ValueError."""
    rows = [np.zeros(players)]
    for each in outcomes:
        if not isinstance(each, list) or len(each) != players + 1 or not quoted(each[0]):
            raise ValueError(f"outcome {len(rows)} is not a name and {players} payoffs")
        rows.append(payoffs_in(each[1:]))
    wrong = next((word for word in words if word not in map(str, range(len(rows)))), None)
    if wrong is not None:
        raise ValueError(f"there is no outcome {wrong}, but {len(rows) - 1} of them")
    return np.array(rows)[[int(word) for word in words]]
