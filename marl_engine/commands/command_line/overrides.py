"""Parses key=value words with Hydra's grammar; text that the grammar does not know is taken literally."""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from marl_engine.configuration import class_of, declared_types, fits
from marl_engine.errors import Refused

OPENING, CLOSING, QUOTES = "([{", ")]}", "'\""


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Returns the overrides of words. Raises Refused."""
    return [parse_override(word) for word in words]


def parse_override(word: str) -> Override:
    """Returns the override of a word; a value outside Hydra's grammar is text. Raises Refused."""
    yaml_infinity = re.sub(r"=(-?)\.inf$", r"=\1inf", word)  # with a dot, as in YAML
    override = parse_by_hydra(yaml_infinity) or parse_by_hydra(quote_value(word))
    if override is None or not override.key_or_group:
        raise Refused(f"cannot read {word!r}; write key=value")
    if override.is_delete():
        raise Refused(f"cannot take away {override.key_or_group}; give it another value, or null where that is one")
    return override


def parse_by_hydra(word: str) -> Override | None:
    """Returns the override, or None if Hydra's grammar does not accept the word."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException:
        return None
    return override


def quote_value(word: str) -> str:
    """Quotes the value of a word, or its values if they are separated by commas outside brackets."""
    key, equals, value = word.partition("=")
    pieces = [piece if parse_by_hydra(f"{key}={piece}") else quote_text(piece) for piece in split_at_commas(value)]
    return f"{key}{equals}{','.join(pieces)}"


def quote_text(text: str) -> str:
    """Quotes a text for Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def split_at_commas(text: str) -> Iterator[str]:
    """Splits a text at commas outside brackets and quotes."""
    start, depth, quote = 0, 0, ""
    for place, letter in enumerate(text):
        if letter in QUOTES:
            quote = letter if not quote else quote if letter != quote else ""
        elif not quote:
            depth += (letter in OPENING) - (letter in CLOSING)
        if letter == "," and depth <= 0 and not quote:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def sweep_jobs(words: Sequence[str]) -> list[list[str]]:
    """Returns the words of each job of a sweep, in the order of execution. Raises Refused."""
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parse_overrides(words)
    ]
    return [list(job) for job in product(*values)]


def restore_texts(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Replaces a value by its text if Hydra's value does not fit the declared type of its key and the text does.

    For example run=1 is a name and seed=1 a number. Raises Refused if a class cannot be imported.
    """
    for override in overrides:
        value = override.value()
        if value is None or isinstance(value, str) or override.is_sweep_override():
            continue
        section, _, key = override.key_or_group.rpartition(".")
        declared = section_types(config, section).get(key, Any)
        text = str(override.input_line).partition("=")[2]
        if not fits(declared, value) and fits(declared, text):
            OmegaConf.update(config, override.key_or_group, text)


def section_types(config: DictConfig, section: str) -> dict[str, Any]:
    """Returns the declared types of a section's keys; "" stands for the keys of the run."""
    from marl_engine.runs.run import RunOptions

    if not section:
        return declared_types(RunOptions)
    values = OmegaConf.select(config, section)
    return declared_types(class_of(values["_target_"])) if "_target_" in (values or ()) else {}
