"""Where prompts come from: the file beside this one, a text file, JSON lines, a folder of the `datasets` library.

Prompts are plain strings; of a chat the first thing that the user says is one, because it stands without context.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("prompts.txt")


def prompts(source: str | None) -> list[str]:
    """The prompts of a source, in its order; None: those of this engine. Raises ValueError."""
    path = SHIPPED if source is None else Path(source)
    if not path.exists():
        raise ValueError(f"game.prompts: there is no {path}")
    try:
        found = of_dataset(path) if path.is_dir() else of_file(path)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"game.prompts: {path} cannot be read: {error}") from error
    if not found:
        raise ValueError(f"game.prompts: there are no prompts in {path}")
    return found


def split(texts: Sequence[str], share: float = 0.2) -> tuple[list[str], list[str]]:
    """Prompts to train on, and about `share` of them held out.

    By a hash of each text alone, so that a prompt stays on its side whatever else is in the list; either may be empty.
    """
    held = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") < share * 2**64 for text in texts]
    sides = [[text for text, out in zip(texts, held, strict=True) if out is side] for side in (False, True)]
    return sides[0], sides[1]


def of_file(path: Path) -> list[str]:
    """One prompt for a line, except empty lines, and in a .txt those that begin with #. Raises ValueError."""
    if path.suffix not in (".txt", ".jsonl"):
        raise ValueError(f"game.prompts must be null, a .txt, a .jsonl or a folder of datasets, not {path}")
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix == ".txt":
        return [line for _, line in numbered if not line.startswith("#")]
    return texts_of(((f"{path}, line {number}", parsed(path, number, line)) for number, line in numbered))


def parsed(path: Path, number: int, line: str) -> Any:
    """A line of JSON. Raises ValueError with its number."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"game.prompts: {path}, line {number}, is no JSON: {error}") from error


def of_dataset(path: Path) -> list[str]:
    """The rows of a saved dataset, of the split `train` where it has several. Raises ValueError."""
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise ValueError(f"game.prompts: to read the folder {path}: pip install datasets") from error
    try:
        found = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"game.prompts: {path} is no folder that datasets saved: {error}") from error
    if isinstance(found, Mapping):
        found = found["train"] if "train" in found else next(iter(found.values()))
    return texts_of((f"{path}, row {number}", row) for number, row in enumerate(found))


def texts_of(rows: Iterable[tuple[str, Any]]) -> list[str]:
    """The prompts of rows, each with the name of its place. Raises ValueError."""
    return [text_of(place, row) for place, row in rows]


def text_of(place: str, row: Any) -> str:
    """`prompt`, a text or a chat, or the chat `messages`. Raises ValueError."""
    if not isinstance(row, Mapping) or not ("prompt" in row or "messages" in row):
        keys = ", ".join(map(str, row)) if isinstance(row, Mapping) else "no keys"
        raise ValueError(f"game.prompts: {place}, has neither the key prompt nor messages, but {keys}")
    found = row["prompt"] if "prompt" in row else row["messages"]
    if isinstance(found, list):
        said = [each.get("content") for each in found if isinstance(each, Mapping) and each.get("role") == "user"]
        found = said[0] if said else None
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"game.prompts: {place}, has no text in its prompt, and no message of the user's")
    return found.strip()
