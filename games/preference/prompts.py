"""Reads prompts from the built-in file, or from a file with a column of texts or chats.

A chat is used up to the last message of the user, including system messages. A later message of the assistant is an
answer by another model and is dropped.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from games.preference.rows import read_rows
from marl_engine.errors import Refused, choice
from marl_engine.policies.language.chats import ROLES, Chat, Message, question

BUILT_IN = Path(__file__).with_name("prompts.txt")
COLUMNS = ("prompt", "messages")  # default columns, in this order
SYNONYMS = {"developer": "system"}


def read_prompts(source: str | None, column: str | None = None) -> list[Chat]:
    """Returns the prompts of a source in order; None: the built-in prompts. Raises Refused."""
    path = BUILT_IN if source is None else Path(source)
    try:
        chats = [read_prompt(place, row, column) for place, row in read_rows(path)]
    except Refused as error:
        raise Refused(f"game.prompts: {error}") from error
    if not chats:
        raise Refused(f"game.prompts: there are no prompts in {path}")
    return chats


def split_prompts(texts: Sequence[str], share: float = 0.2) -> tuple[list[str], list[str]]:
    """Splits texts into training texts and about a `share` of held-out texts.

    The split depends on a hash of each text, so a prompt stays on its side if others are added. Either side may be
    empty.
    """
    sides = [[text for text in texts if is_held_out(text, share) is side] for side in (False, True)]
    return sides[0], sides[1]


def is_held_out(text: str, share: float) -> bool:
    """Whether a text belongs to the held-out side of a split."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") < share * 2**64


def read_prompt(place: str, row: Any, column: str | None = None) -> Chat:
    """Returns the prompt of a row: a text, or the content of a column. Raises Refused."""
    if isinstance(row, str) and column is None:
        return read_chat(place, row)
    columns = list(map(str, row)) if isinstance(row, Mapping) else []
    name = next((each for each in ([column] if column else COLUMNS) if each in columns), None)
    if name is None:
        missing = f"no column {column}" if column else f"none of the columns {' and '.join(COLUMNS)}"
        options = f"its columns are {choice(column or COLUMNS[0], columns)}" if columns else "it has no columns"
        raise Refused(f"{place}, has {missing}: {options}; game.column names one")
    return read_chat(f"{place}, {name}", row[name])


def read_chat(place: str, prompt: Any) -> Chat:
    """Converts a text, or messages up to the user's last one, to a chat. Raises Refused for anything else."""
    if isinstance(prompt, str):
        chat = question(clean(place, prompt))
    else:
        chat = read_messages(place, prompt)
        while chat and chat[-1]["role"] == "assistant":
            chat.pop()
    if not chat or chat[-1]["role"] != "user" or not chat[-1]["content"]:
        raise Refused(f"{place}, has no text, and no message of the user's at the end of a chat")
    return chat


def read_messages(place: str, messages: Any) -> Chat:
    """Converts a list of messages to a chat, without empty system messages. Raises Refused if it is not one."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise Refused(f"{place}, must be a text or a list of messages, not {type(messages).__name__}")
    chat = [read_message(f"{place}, message {number}", each) for number, each in enumerate(messages, start=1)]
    return [message for message in chat if message["content"] or message["role"] != "system"]


def read_message(place: str, message: Any) -> Message:
    """Converts a message with a role and a text, possibly in parts. Raises Refused for tool messages and images."""
    if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
        raise Refused(f"{place}, must have a role and a content")
    role, content = str(message["role"]), message["content"]
    role = SYNONYMS.get(role, role)
    if role not in ROLES:
        raise Refused(f"{place}, has the role {role!r}; only {', '.join(ROLES)} can be asked")
    parts = [content] if isinstance(content, str) else content if isinstance(content, Sequence) else [None]
    texts = [text for text in map(read_part, parts) if text is not None]
    if len(texts) < len(parts):
        raise Refused(f"{place}, has content that is no text; only texts can be asked")
    return {"role": role, "content": clean(place, "\n".join(texts))}


def read_part(part: Any) -> str | None:
    """Returns the text of a message part; None for images, audio and the like."""
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else part
    return text if isinstance(text, str) else None


def clean(place: str, text: str) -> str:
    """Strips white space. Raises Refused for lone surrogates, which neither models nor files accept."""
    try:
        text.encode()
    except UnicodeError as error:
        raise Refused(f"{place}, has half a sign in it: {error}") from error
    return text.strip()
