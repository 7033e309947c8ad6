"""Reader of Gambit's .nfg files, games in normal form, both variants (Gambit's manual, "Game representation formats").

    NFG 1 R "title" { "player 1" "player 2" } { 2 2 }                       1 1  0 3  3 0  2 2
    NFG 1 R "title" { "player 1" "player 2" } { { "a" "b" } { "c" "d" } }   { { "" 1, 1 } { "" 0, 3 } … }  1 2 …

The strategy of player 1 varies fastest. The body contains either the payoffs of each strategy profile, or a list of
outcomes and the number of an outcome for each profile, 0 for no payoff. A quoted comment may precede either.
"""

import re
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|["{}]|[^\s{},"]+')


def parse_nfg(text: str) -> np.ndarray:
    """Parses the text of a .nfg file; returns payoffs (P, A, B, …). Raises ValueError."""
    words = parse_braces(text)
    head, tail = words[:6], words[6:]
    if head[:2] != ["NFG", "1"] or head[2:3] not in (["R"], ["D"]):
        raise ValueError("it does not begin with NFG 1 R")
    if len(head) < 6 or not (is_quoted(head[3]) and isinstance(head[4], list) and isinstance(head[5], list)):
        raise ValueError("after NFG 1 R must come a title, { players } and { strategies }")
    players = len(head[4])
    counts = [len(each) if isinstance(each, list) else int(parse_payoff(each)) for each in head[5]]
    integer = all(isinstance(each, list) or parse_payoff(each).is_integer() for each in head[5])
    if len(counts) != players or min(counts, default=0) < 1 or not integer:
        raise ValueError(f"it names {players} players and gives {counts} strategies")
    if tail and is_quoted(tail[0]):
        tail = tail[1:]
    rows = (
        payoffs_of_outcomes(tail[0], tail[1:], players) if tail and isinstance(tail[0], list) else parse_payoffs(tail)
    )
    expected = prod(counts)
    if rows.size != expected * players:
        raise ValueError(f"{expected} combinations of strategies need {expected * players} payoffs, not {rows.size}")
    return rows.reshape(*counts[::-1], players).T


def strategy_names(text: str) -> list[list[str]]:
    """Returns the strategy names of each player in a valid .nfg file.

    The list is empty if the file gives only a number.
    """
    return [[word[1:-1] for word in each] if isinstance(each, list) else [] for each in parse_braces(text)[5]]


def parse_braces(text: str) -> list[Any]:
    """Splits a text into words, with nested lists for braces. Raises ValueError."""
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


def is_quoted(word: Any) -> bool:
    """Whether a word is a quoted string."""
    return isinstance(word, str) and word.startswith('"')


def parse_fraction(word: Any) -> Fraction:
    """Parses a number written as 2, -1.5, .5, 1e-3 or 1/3 exactly. Raises ValueError."""
    try:
        value = Fraction(word)
        float(value)  # raises OverflowError for numbers that are too large
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{word!r} is no number") from error
    return value


def parse_payoff(word: Any) -> float:
    """Parses a number written as 2, -1.5, .5, 1e-3 or 1/3. Raises ValueError."""
    return float(parse_fraction(word))


def parse_payoffs(words: list[Any]) -> np.ndarray:
    """Parses numbers (N,). Raises ValueError."""
    return np.array([parse_payoff(word) for word in words])


def payoffs_of_outcomes(outcomes: list[Any], words: list[Any], players: int) -> np.ndarray:
    """Returns the payoffs (N, P) of outcomes given by their numbers, from 1; 0 pays nothing. Raises ValueError."""
    rows = [np.zeros(players)]
    for each in outcomes:
        if not isinstance(each, list) or len(each) != players + 1 or not is_quoted(each[0]):
            raise ValueError(f"outcome {len(rows)} is not a name and {players} payoffs")
        rows.append(parse_payoffs(each[1:]))
    wrong = next((word for word in words if word not in map(str, range(len(rows)))), None)
    if wrong is not None:
        raise ValueError(f"there is no outcome {wrong}, but {len(rows) - 1} of them")
    return np.array(rows)[[int(word) for word in words]]
