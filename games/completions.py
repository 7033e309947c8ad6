"""One question to an endpoint that speaks the chat completions of OpenAI, asked until there is a verdict, A or B.

What may pass is waited out, twice as long each time: no connection, silence, 408, 429, 5xx, words that are no verdict.
"""

import json
import os
import re
from http.client import HTTPException
from threading import Event
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from marl_engine.errors import Halted

VERDICT = {"A": 1.0, "B": 0.0}  # the first answer is better
LONGEST_WAIT = 60.0  # seconds between two attempts


class Reply(NamedTuple):
    """What one question came to."""

    verdict: float | None  # 1: the first is better; None: unreadable, however often it was asked
    requests: int = 1  # that were answered
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Line(NamedTuple):
    """How an endpoint is reached."""

    url: str
    key: str | None  # the environment variable that has the API key
    timeout: float  # seconds, of one request
    attempts: int
    wait: float  # seconds before the second attempt, doubled before each one after


def asked(line: Line, body: bytes, stop: Event) -> Reply:
    """What comes of a request, until `stop` is set. Raises Halted where the endpoint fails to the last attempt."""
    total, failure = Reply(None, 0), ""
    for attempt in range(line.attempts):
        pause, failure = 0.0, ""
        try:
            total = added(total, read(posted(line, body)))
        except HTTPError as error:
            failure, pause = f"{error.code} {error.reason}", asked_to_wait(error)
            if error.code not in (408, 429) and error.code < 500:
                raise Halted(f"game.judge.url: {line.url} refused the question: {failure}{said(error)}") from error
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            failure = str(error) or type(error).__name__
        if total.verdict is not None:
            return total
        if attempt + 1 < line.attempts and stop.wait(min(LONGEST_WAIT, max(pause, line.wait * 2**attempt))):
            break
    if failure:
        raise Halted(f"game.judge.url: {line.url} gave no answer in {line.attempts} attempts: {failure}")
    return total


def posted(line: Line, body: bytes) -> bytes:
    """What the endpoint answers. Raises OSError and HTTPException."""
    headers = {"Content-Type": "application/json"}
    if line.key is not None:
        headers["Authorization"] = f"Bearer {os.environ[line.key]}"
    with urlopen(Request(f"{line.url.rstrip('/')}/chat/completions", body, headers), timeout=line.timeout) as response:
        return bytes(response.read())


def asked_to_wait(error: HTTPError) -> float:
    """Seconds of the header Retry-After, 0 without one."""
    found = error.headers.get("Retry-After", "") if error.headers else ""
    return float(found) if found.isdecimal() else 0.0


def said(error: HTTPError) -> str:
    """The beginning of what came with a refusal."""
    text = " ".join(error.read(500).decode(errors="replace").split())
    return f": {text[:200]}" if text else ""


def read(answer: bytes) -> Reply:
    """The verdict and the tokens of a chat completion; None for what is none."""
    try:
        tree: Any = json.loads(answer)
        text = tree["choices"][0]["message"]["content"]
        usage = tree.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in Reply._fields[2:]]
        return Reply(verdict(text), 1, *tokens)
    except (ValueError, TypeError, LookupError, AttributeError):
        return Reply(None)


def verdict(text: str) -> float | None:
    """1 for A, 0 for B, None for neither: the letter opens or closes the text, as in "A", "B." and "Answer: **B**"."""
    found = re.findall(r"^\W*([AB])(?=[^\w\s]|\n|$)|(?<!or )(?<!and )\b([AB])\W*$", text.strip())
    letters = {first or last for first, last in found}
    return VERDICT[letters.pop()] if len(letters) == 1 else None


def added(total: Reply, other: Reply) -> Reply:
    """The latter's verdict, and the sums."""
    return Reply(other.verdict, *(a + b for a, b in zip(total[1:], other[1:], strict=True)))
