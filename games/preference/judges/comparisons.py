r"""Comparisons for training a judge: a prompt, two answers, and which was preferred, as in preference data sets.

Columns are `prompt`, `first`, `second` and `preferred` (how often the first was), or `prompt`, `chosen` and `rejected`.
The latter two may be chats whose last message is the answer, or texts of "\n\nHuman: …\n\nAssistant: …".
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from games.preference.prompts import clean, read_chat, read_messages, split_prompts
from games.preference.rows import read_rows
from marl_engine.errors import Refused
from marl_engine.policies.language.chats import Chat, transcript

FEWEST = 20  # comparisons
MANY = 20  # prompts; with fewer, pairs are held out instead of prompts
SHARE = 0.2  # held out
FORMS = "{prompt, first, second, preferred} or {prompt, chosen, rejected}"
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


class Comparisons(NamedTuple):
    """N pairs of answers, and how often the first was preferred."""

    prompts: list[str]
    firsts: list[str]
    seconds: list[str]
    preferred: np.ndarray  # (N,) float64

    def only(self, index: np.ndarray) -> "Comparisons":
        """Returns the comparisons at the given indices."""
        texts = [[column[place] for place in index] for column in self[:3]]
        return Comparisons(texts[0], texts[1], texts[2], self.preferred[index])


def read_comparisons(path: Path) -> Comparisons:
    """Reads the comparisons of a file. Raises Refused with the position of an invalid row."""
    rows = [read_comparison(place, row) for place, row in read_rows(path)]
    if len(rows) < FEWEST:
        raise Refused(f"{path} has {len(rows)} comparisons; {FEWEST} are the fewest to learn from")
    prompts, firsts, seconds, preferred = zip(*rows, strict=True)
    return Comparisons(list(prompts), list(firsts), list(seconds), np.array(preferred, float))


def read_comparison(place: str, row: Any) -> tuple[str, str, str, float]:
    """Returns the prompt, the first answer, the second answer and P(first is better). Raises Refused."""
    columns = set(row) if isinstance(row, Mapping) else set()
    if {"chosen", "rejected"} <= columns:
        return read_choice(place, row)
    if not {"prompt", "first", "second", "preferred"} <= columns:
        raise Refused(
            f"{place}, is not {FORMS}, but has {', '.join(map(str, sorted(columns, key=str))) or 'no columns'}"
        )
    if not all(isinstance(row[name], str) for name in ("first", "second")):
        raise Refused(f"{place}: first and second must be texts")
    prompt = transcript(read_chat(f"{place}, prompt", row["prompt"]))
    return prompt, row["first"], row["second"], read_chance(place, row["preferred"])


def read_chance(place: str, preferred: Any) -> float:
    """Returns how often the first answer was preferred, from a number or its text. Raises Refused."""
    try:
        chance = float(preferred)
    except (TypeError, ValueError):
        chance = -1.0
    if not 0 <= chance <= 1:
        raise Refused(f"{place}: preferred must be from 0 to 1, how often the first was, not {preferred!r}")
    return chance


def read_choice(place: str, row: Mapping[str, Any]) -> tuple[str, str, str, float]:
    """Returns a row with a chosen and a rejected answer; equal answers are a tie. Raises Refused."""
    bare = "prompt" not in row
    (before, chosen), (other, rejected) = (
        read_answer(f"{place}, {name}", row[name], bare) for name in ("chosen", "rejected")
    )
    if before != other:
        raise Refused(f"{place}: chosen and rejected must answer the same messages")
    if bare and not before:
        raise Refused(f"{place}, has no prompt: give a column of that name, or chats that begin with it")
    chat = read_chat(f"{place}, chosen", before) if before else read_chat(f"{place}, prompt", row["prompt"])
    return transcript(chat), chosen, rejected, 0.5 if chosen == rejected else 1.0


def read_answer(place: str, answer: Any, bare: bool) -> tuple[Chat, str]:
    """Returns the messages before an answer (none for a text) and its text; `bare` texts contain both.

    Raises Refused.
    """
    if isinstance(answer, str) and not bare:
        return [], clean(place, answer)
    chat = read_speech(answer) if isinstance(answer, str) else read_messages(place, answer)
    if not chat or chat[-1]["role"] != "assistant":
        raise Refused(f"{place}, must be a text beside a prompt, or a chat that ends with the assistant's answer")
    return chat[:-1], chat[-1]["content"]


def read_speech(text: str) -> Chat:
    """The messages of a text of "\\n\\nHuman: …\\n\\nAssistant: …"; none of other texts."""
    preface, *parts = SPEAKER.split(text)
    if preface.strip():
        return []
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": ROLES[speaker], "content": content.strip()} for speaker, content in pairs]


def hold_out(comparisons: Comparisons) -> np.ndarray:
    """Returns which comparisons are held out, (N,) bool: those of some prompts, or some pairs if there are few prompts.

    This is not the split of a game's prompts; the prompts of a run are all on one side of this one.
    """
    keys = ["compared\n" + prompt for prompt in comparisons.prompts]
    if len(set(keys)) < MANY:
        keys = ["\n".join((prompt, *sorted(pair))) for prompt, *pair in zip(*comparisons[:3], strict=True)]
    apart = set(split_prompts(keys, SHARE)[1])
    return np.array([key in apart for key in keys])
