"""A client for OpenAI's chat completions API that sends one request at a time.

Temporary failures are retried after the time that the endpoint asks for, or after a pause that doubles each time: no
connection, time-outs, 408, 429, 5xx, and a 200 without a completion. A completion is billed whatever it says, so it is
never requested again.
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

LONGEST_PAUSE = 60.0  # seconds between attempts, unless the endpoint asks for more
LONGEST_WAIT = 300.0  # seconds that an endpoint may ask for
LONGEST_ERROR = 100_000  # bytes of an error that are read
ERROR_LENGTH = 500  # characters of an error that are shown
NUMBERS = "prompt_tokens", "completion_tokens"


class Reply(NamedTuple):
    """The result of one request."""

    text: str  # "" if there is none
    cut: bool = False  # truncated at max_tokens
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Endpoint(NamedTuple):
    """The address of an endpoint and the settings for retries."""

    url: str
    key: str | None  # environment variable with the API key
    timeout: float  # seconds for one request
    attempts: int
    wait: float  # seconds before the second attempt, doubled before each one after


class NoCompletion(OSError):
    """The endpoint's response is not a completion."""


def request_completion(endpoint: Endpoint, body: bytes, stop: Event) -> Reply:
    """Sends a request and retries until `stop` is set. Raises Halted if the last attempt fails."""
    failure = ""
    for attempt in range(endpoint.attempts):
        pause = 0.0
        try:
            return read_completion(post(endpoint, body))
        except HTTPError as error:
            with error:
                failure = f"{error.code} {error.reason}{error_message(error.read(LONGEST_ERROR))}"
            if error.code not in (408, 429) and error.code < 500:
                raise Halted(f"game.judge.url: {endpoint.url} refused the question: {failure}") from error
            pause = read_wait(error.headers, time.time())
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            failure = str(error) or type(error).__name__
        pause = pause or min(LONGEST_PAUSE, endpoint.wait * 2**attempt)
        if attempt + 1 < endpoint.attempts and stop.wait(pause):
            break
    raise Halted(f"game.judge.url: {endpoint.url} gave no answer in {endpoint.attempts} attempts: {failure}")


def post(endpoint: Endpoint, body: bytes) -> bytes:
    """Sends a request and returns the response. Raises OSError and HTTPException."""
    headers = {"Content-Type": "application/json"}
    if endpoint.key is not None:
        headers["Authorization"] = f"Bearer {os.environ[endpoint.key]}"
    with urlopen(Request(f"{endpoint.url}/chat/completions", body, headers), timeout=endpoint.timeout) as response:
        return bytes(response.read())


def read_wait(headers: Message, now: float) -> float:
    """Returns the seconds to wait that an endpoint asks for; 0 if it does not say.

    Reads `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3). `now` is in seconds
    since 1970.
    """
    waits = (
        read_seconds(headers.get("retry-after-ms", ""), 0.0) / 1000,
        read_seconds(headers.get("Retry-After", ""), now),
    )
    return min(LONGEST_WAIT, next((wait for wait in waits if wait > 0), 0.0))


def read_seconds(text: str, now: float) -> float:
    """Parses a number of seconds, or a date relative to `now`; 0 for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_tz(text)
            seconds = mktime_tz(date) - now if date else 0.0
        except (ValueError, OverflowError):
            seconds = 0.0
    return seconds if isfinite(seconds) else 0.0


def read_completion(response: bytes) -> Reply:
    """Returns the text and token counts of a chat completion. Raises NoCompletion if the response is not one."""
    try:
        tree = json.loads(response)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict) or tree.get("error") or not isinstance(tree.get("choices"), list):
        raise NoCompletion(f"no chat completion{error_message(response)}")
    usage = tree.get("usage")
    tokens = [read_count(usage.get(name)) for name in NUMBERS] if isinstance(usage, dict) else []
    choice = tree["choices"][0] if tree["choices"] else {}
    cut = isinstance(choice, dict) and choice.get("finish_reason") == "length"
    return Reply(choice_text(choice), cut, *tokens)


def choice_text(choice: Any) -> str:
    """Returns the text of a choice: its content, the text parts of its content, or the refusal message.

    Returns "" if there is none.
    """
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
    """Returns a token count; 0 if the value is not a count."""
    return int(number) if isinstance(number, int | float) and isfinite(number) and number > 0 else 0


def error_message(body: bytes) -> str:
    """Returns a provider's error message after a colon: the message of the usual JSON, otherwise the whole body."""
    text = body.decode(errors="replace")
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError):
        tree = None
    for key in ("error", "message", "detail"):
        tree = tree.get(key, tree) if isinstance(tree, dict) else tree
    message = excerpt(tree if isinstance(tree, str) else text, ERROR_LENGTH)
    return f": {message}" if message else ""
