"""The key=value words of a command line, as Hydra reads them; but text is taken as it stands, brackets and all."""

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
    """The overrides that words stand for. Raises Refused."""
    return [parse_override(word) for word in words]


def parse_override(word: str) -> Override:
    """The override that a word stands for; a value that Hydra's grammar does not know is text. Raises Refused."""
    yaml_infinity = re.sub(r"=(-?)\.inf$", r"=\1inf", word)  # with a point, as in our presets
    override = parse_by_hydra(yaml_infinity) or parse_by_hydra(quote_value(word))
    if override is None or not override.key_or_group:
        raise Refused(f"cannot read {word!r}; write key=value")
    if override.is_delete():
        raise Refused(f"cannot take away {override.key_or_group}; give it another value, or null where that is one")
    return override


def parse_by_hydra(word: str) -> Override | None:
    """The override, or None where Hydra's grammar has none."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException:
        return None
    return override


def quote_value(word: str) -> str:
    """The word with its value in quotes, or its values, where commas outside of brackets part several."""
    key, equals, value = word.partition("=")
    pieces = [piece if parse_by_hydra(f"{key}={piece}") else quote(piece) for piece in split_at_commas(value)]
    return f"{key}{equals}{','.join(pieces)}"


def quote(text: str) -> str:
    """A text as Hydra's grammar writes it."""
    return QuotedString(text, Quote.single).with_quotes()


def split_at_commas(text: str) -> Iterator[str]:
    """The pieces between commas that stand outside of brackets and quotes."""
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
    """The words of each job of a sweep, in the order in which they are run. Raises Refused."""
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parse_overrides(words)
    ]
    return [list(job) for job in product(*values)]


def restore_texts(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Puts back the text of a value where Hydra's reading does not fit the declared type of its key and the text does.

    So run=1 is a name, and seed=1 a number. Raises Refused where a class cannot be imported.
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
    """The declared types of a section's keys; those of "" are the run's own."""
    from marl_engine.runs.run import RunOptions

    if not section:
        return declared_types(RunOptions)
    values = OmegaConf.select(config, section)
    return declared_types(class_of(values["_target_"])) if "_target_" in (values or ()) else {}
