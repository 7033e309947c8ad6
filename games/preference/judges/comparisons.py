r"""Reads comparisons for training a judge from preference data sets: a prompt, two answers, and how often each won.

Columns are `prompt`, `first`, `second` and `preferred` (how often the first answer was preferred), or `prompt`,
`chosen` and `rejected`. The latter two may be chats whose last message is the answer, or texts of the form
"\n\nHuman: …\n\nAssistant: …".
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

MIN_COMPARISONS = 20
MIN_PROMPTS = 20  # with fewer prompts, pairs of answers are held out instead of prompts
SHARE = 0.2  # of held-out comparisons
FORMS = "{prompt, first, second, preferred} or {prompt, chosen, rejected}"
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


class Comparisons(NamedTuple):
    """N pairs of answers, and how often the first was preferred."""

    prompts: list[str]
    firsts: list[str]
    seconds: list[str]
    chances: np.ndarray  # (N,) float64: P(first is better)

    def select(self, index: np.ndarray) -> "Comparisons":
        """Returns the comparisons at the given indices."""
        texts = [[column[place] for place in index] for column in self[:3]]
        return Comparisons(texts[0], texts[1], texts[2], self.chances[index])


def read_comparisons(path: Path) -> Comparisons:
    """Reads the comparisons of a file. Raises Refused with the position of an invalid row."""
    rows = [read_comparison(place, row) for place, row in read_rows(path)]
    if len(rows) < MIN_COMPARISONS:
        raise Refused(f"{path} has {len(rows)} comparisons; {MIN_COMPARISONS} are the fewest to learn from")
    prompts, firsts, seconds, chances = zip(*rows, strict=True)
    return Comparisons(list(prompts), list(firsts), list(seconds), np.array(chances, float))


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


def read_chance(place: str, value: Any) -> float:
    """Returns how often the first answer was preferred, from a number or its text. Raises Refused."""
    try:
        chance = float(value)
    except (TypeError, ValueError):
        chance = -1.0
    if not 0 <= chance <= 1:
        raise Refused(f"{place}: preferred must be from 0 to 1, how often the first was, not {value!r}")
    return chance


def read_choice(place: str, row: Mapping[str, Any]) -> tuple[str, str, str, float]:
    """Returns a row with a chosen and a rejected answer; equal answers are a tie. Raises Refused."""
    bare = "prompt" not in row
    (context, first), (second_context, second) = (
        read_answer(f"{place}, {name}", row[name], bare) for name in ("chosen", "rejected")
    )
    if context != second_context:
        raise Refused(f"{place}: chosen and rejected must answer the same messages")
    if bare and not context:
        raise Refused(f"{place}, has no prompt: give a column of that name, or chats that begin with it")
    chat = read_chat(f"{place}, chosen", context) if context else read_chat(f"{place}, prompt", row["prompt"])
    return transcript(chat), first, second, 0.5 if first == second else 1.0


def read_answer(place: str, answer: Any, bare: bool) -> tuple[Chat, str]:
    """Returns the messages before an answer, and its text. Raises Refused.

    `bare` says that there is no column with the prompt; then a text contains the messages too. Otherwise a text is the
    answer, with no messages before it.
    """
    if isinstance(answer, str) and not bare:
        return [], clean(place, answer)
    chat = parse_dialogue(answer) if isinstance(answer, str) else read_messages(place, answer)
    if not chat or chat[-1]["role"] != "assistant":
        raise Refused(f"{place}, must be a text beside a prompt, or a chat that ends with the assistant's answer")
    return chat[:-1], chat[-1]["content"]


def parse_dialogue(text: str) -> Chat:
    """Returns the messages of a text of the form "\\n\\nHuman: …\\n\\nAssistant: …"; an empty chat for other texts."""
    preface, *parts = SPEAKER.split(text)
    if preface.strip():
        return []
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": ROLES[speaker], "content": content.strip()} for speaker, content in pairs]


def hold_out(comparisons: Comparisons) -> np.ndarray:
    """Returns which comparisons are held out, (N,) bool.

    These are all comparisons of some prompts, or if there are few prompts, some pairs of answers. The split is
    independent of the split of a game's prompts, since keys are hashed with a prefix.
    """
    keys = ["compared\n" + prompt for prompt in comparisons.prompts]
    if len(set(keys)) < MIN_PROMPTS:
        keys = ["\n".join((prompt, *sorted(pair))) for prompt, *pair in zip(*comparisons[:3], strict=True)]
    held_out = set(split_prompts(keys, SHARE)[1])
    return np.array([key in held_out for key in keys])
