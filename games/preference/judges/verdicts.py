"""Parses a judge's reply: a verdict if it is unambiguous, otherwise none.

There are three forms: a single letter; a last line with a label, such as `Verdict: A`; a JSON object with a label as
its key. A sentence is none of them: "A is better than B" and "the better answer is A, not B" contain both letters, and
"the answer is not A" contains the wrong one.
"""

import json
import re
import unicodedata
from typing import Any

VERSION = 2  # of the rules in this file; cached verdicts of other versions are not used
VERDICTS = {"a": 1.0, "b": 0.0}  # 1: the first answer is better

OPENING = r"[\s\"'“”„‘’‚«»‹›(\[{「『【《$]*"  # characters allowed before a single letter, and
CLOSING = r"[ \t\"'“”„‘’‚«»‹›)\]}」』】》$.。!]*"  # after it; neither "?" nor "not"
NOUN = r"(?:answer|option|response|antwort|回答|答案|选项)"  # as in "Answer A"
LETTER = rf"{OPENING}(?:{NOUN}{OPENING})?([ab]){CLOSING}"
LABEL = (
    r"(?:(?:the|my|die|der|das|mein|meine|我的)[ ]*)?"
    r"(?:(?:final|better|best|preferred|bessere|beste|endgültige|endgültiges|最终|更好的|较好的)[ ]*)?"
    r"(?:verdict|answer|choice|winner|judg(?:e)?ment|decision|urteil|antwort|entscheidung|判决|判断|答案|回答|结论|选择)"
)
IS = r"(?:[ ]*(?:is|ist|lautet|是|为))?"
SINGLE_LETTER = re.compile(LETTER, re.I)
LABEL_LINE = re.compile(rf"^[ #]*{LABEL}{IS}[ ]*[:=]{LETTER}$|^<({LABEL})>{LETTER}\n?</\2>$", re.I | re.M)
KEY = re.compile(LABEL, re.I)
THOUGHT, END_OF_THOUGHT = (re.compile(rf"<{slash}(?:think|thinking|thought|reasoning)>", re.I) for slash in ("", "/"))
FENCE = re.compile(r"```\w*\n(.*?)\n?```", re.S)
EMPHASIS = str.maketrans("", "", "*_`\u200b\ufeff")


def parse_verdict(reply: str) -> float | None:
    """Returns 1 for A, 0 for B, None for a reply that has none of the forms, or several that differ."""
    lines = unicodedata.normalize("NFKC", reply).splitlines()  # with any line ending
    text = END_OF_THOUGHT.split("\n".join(lines))[-1].strip()
    if THOUGHT.search(text):
        return None  # reasoning without an end: the reply was truncated
    if block := FENCE.fullmatch(text):
        text = block[1].strip()
    tree = parse_object(text)
    letters = letters_of_object(tree) if tree is not None else letters_of_text(text.translate(EMPHASIS).strip())
    return VERDICTS[letters.pop()] if len(letters) == 1 else None


def parse_object(text: str) -> list[tuple[str, Any]] | None:
    """Returns the keys and values of a JSON object, including repeated keys; None for any other text."""
    try:
        pairs: list[tuple[str, Any]] | None = json.loads(text, object_pairs_hook=list) if text[:1] == "{" else None
    except (ValueError, RecursionError):
        return None
    return pairs


def letters_of_object(pairs: list[tuple[str, Any]]) -> set[str]:
    """Returns the letters under keys that are labels; "" for a label without a letter."""
    values = [value for key, value in pairs if KEY.fullmatch(key.replace("_", " ").strip())]
    matches = [
        SINGLE_LETTER.fullmatch(value.translate(EMPHASIS)) if isinstance(value, str) else None for value in values
    ]
    letters = {match[1].lower() if match else "" for match in matches}
    return set() if "" in letters else letters


def letters_of_text(text: str) -> set[str]:
    """Returns the letter if the text is one; otherwise those of labelled lines, if the last line is labelled."""
    if letter := SINGLE_LETTER.fullmatch(text):
        return {letter[1].lower()}
    lines = list(LABEL_LINE.finditer(text))
    if not lines or lines[-1].end() != len(text):
        return set()
    return {(line[1] or line[3]).lower() for line in lines}
