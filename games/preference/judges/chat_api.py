"""One question to an endpoint that speaks the chat completions of OpenAI.

What may pass is waited out, as long as the endpoint says or twice as long each time: no connection, silence, 408, 429,
5xx, and a 200 without a completion. A completion is an answer and is paid for, whatever it says: it is not asked again.
"""

import json
import os
import time
from email.message import Message
from email.utils import mktime_tz, parsedate_tz
from http.client import HTTPException
from math import isfinite
from threading import Event
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from marl_engine.errors import Halted, excerpt

LONGEST_PAUSE = 60.0  # seconds between two attempts, unless the endpoint asks for more
LONGEST_WAIT = 300.0  # seconds that an endpoint may ask for
LONGEST_ERROR = 100_000  # bytes of a refusal that are read
WORDS = 500  # characters of them that are shown
NUMBERS = "prompt_tokens", "completion_tokens"


class Reply(NamedTuple):
    """What one question came to."""

    text: str  # "" where there is none
    cut: bool = False  # at the most tokens that were allowed
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Line(NamedTuple):
    """How an endpoint is reached."""

    url: str
    key: str | None  # the environment variable that has the API key
    timeout: float  # seconds, of one request
    attempts: int
    wait: float  # seconds before the second attempt, doubled before each one after


class NoCompletion(OSError):
    """An endpoint answered, and with something else."""


def complete(line: Line, body: bytes, stop: Event) -> Reply:
    """What comes of a request, until `stop` is set. Raises Halted where the endpoint fails to the last attempt."""
    failure = ""
    for attempt in range(line.attempts):
        pause = 0.0
        try:
            return read_completion(post(line, body))
        except HTTPError as error:
            with error:
                failure = f"{error.code} {error.reason}{error_words(error.read(LONGEST_ERROR))}"
            if error.code not in (408, 429) and error.code < 500:
                raise Halted(f"game.judge.url: {line.url} refused the question: {failure}") from error
            pause = read_wait(error.headers, time.time())
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            failure = str(error) or type(error).__name__
        pause = pause or min(LONGEST_PAUSE, line.wait * 2**attempt)
        if attempt + 1 < line.attempts and stop.wait(pause):
            break
    raise Halted(f"game.judge.url: {line.url} gave no answer in {line.attempts} attempts: {failure}")


def post(line: Line, body: bytes) -> bytes:
    """What the endpoint answers. Raises OSError and HTTPException."""
    headers = {"Content-Type": "application/json"}
    if line.key is not None:
        headers["Authorization"] = f"Bearer {os.environ[line.key]}"
    with urlopen(Request(f"{line.url}/chat/completions", body, headers), timeout=line.timeout) as response:
        return bytes(response.read())


def read_wait(headers: Message, now: float) -> float:
    """Seconds that an endpoint asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as a date
    (RFC 9110, section 10.2.3) seen from `now`, in seconds since 1970; 0 where it does not say.
    """
    waits = (
        read_seconds(headers.get("retry-after-ms", ""), 0.0) / 1000,
        read_seconds(headers.get("Retry-After", ""), now),
    )
    return min(LONGEST_WAIT, next((wait for wait in waits if wait > 0), 0.0))


def read_seconds(text: str, now: float) -> float:
    """A number of seconds, or a date in seconds from now; 0 for neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_tz(text)
            seconds = mktime_tz(date) - now if date else 0.0
        except (ValueError, OverflowError):
            seconds = 0.0
    return seconds if isfinite(seconds) else 0.0


def read_completion(answer: bytes) -> Reply:
    """The text and the tokens of a chat completion. Raises NoCompletion for what is none."""
    try:
        tree = json.loads(answer)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict) or tree.get("error") or not isinstance(tree.get("choices"), list):
        raise NoCompletion(f"no chat completion{error_words(answer)}")
    usage = tree.get("usage")
    tokens = [read_count(usage.get(name)) for name in NUMBERS] if isinstance(usage, dict) else []
    choice = tree["choices"][0] if tree["choices"] else {}
    cut = isinstance(choice, dict) and choice.get("finish_reason") == "length"
    return Reply(read_text(choice), cut, *tokens)


def read_text(choice: Any) -> str:
    """What a choice says: its content, the content's parts of text, or why the model refused; "" for none of these."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return ""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    refusal = message.get("refusal")
    return next((text for text in (content, refusal) if isinstance(text, str) and text), "")


def read_count(number: object) -> int:
    """A count of tokens; 0 for what is none."""
    return int(number) if isinstance(number, int | float) and isfinite(number) and number > 0 else 0


def error_words(body: bytes) -> str:
    """A provider's own words for what is wrong, behind a colon: of the usual JSON its message, else the whole."""
    text = body.decode(errors="replace")
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError):
        tree = None
    for key in ("error", "message", "detail"):
        tree = tree.get(key, tree) if isinstance(tree, dict) else tree
    words = excerpt(tree if isinstance(tree, str) else text, WORDS)
    return f": {words}" if words else ""
