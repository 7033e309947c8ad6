"""Reads the command line with Hydra, and says in one sentence what is wrong with it."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from marl_engine.build import Refused, choice


def refuse(message: object) -> NoReturn:
    """Prints one sentence and exits with 2."""
    print(" ".join(str(message).split()), file=sys.stderr)
    raise SystemExit(2)


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what is wrong with the input into one sentence; HYDRA_FULL_ERROR=1 shows where it came from."""
    try:
        yield
    except Refused as refused:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        refuse(refused)


def composed(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration that config `name` and the overrides describe. Raises Refused."""
    first = [first_of_sweep(override) for override in parsed(overrides)]
    try:
        with initialize_config_module("configs", version_base=None):
            return plain(compose(name, overrides=first))
    except MissingConfigException as error:
        group, _, asked = (error.missing_cfg_file or "").rpartition("/")
        raise Refused(f"there is no {group} {asked!r}; choose from {choice(asked, error.options or [])}") from error
    except ConfigCompositionException as error:
        raise Refused(explained(error, name, first)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise Refused(f"the configuration cannot be read: {str(error).splitlines()[0]}") from error


def plain(config: DictConfig) -> dict[str, Any]:
    """As dicts and lists, interpolations resolved. Raises Refused."""
    try:
        found = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise Refused(f"the configuration cannot be resolved: {str(error).splitlines()[0]}") from error
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def parsed(overrides: Sequence[str]) -> list[Override]:
    """The overrides, read. Raises Refused."""
    found = []
    for override in overrides:
        try:
            found += OverridesParser.create().parse_overrides([override])
        except (OverrideParseException, HydraException) as error:
            raise Refused(
                f"cannot read {override!r}; write key=value, and quote values with spaces or brackets"
            ) from error
    return found


def first_of_sweep(override: Override) -> str:
    """An override as text; of a sweep, its first value."""
    if override.is_sweep_override():
        return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
    return str(override.input_line)


def explained(error: Exception, name: str, overrides: Sequence[str]) -> str:
    """What to write instead of an override that Hydra cannot apply."""
    text = str(error)
    if asked := re.search(r"You must specify '(\w+)'", text):
        options = re.findall(r"^\t(\S+)", text, re.M)
        return f"say which {asked[1]}: {asked[1]}= one of {choice('', options)}"
    if wrong := re.search(r"Could not override '([\w./@]+)'", text):
        key = wrong[1]
        others = [override for override in overrides if not override.startswith(f"{key}=")]
        parent, _, _ = key.rpartition(".")
        known = OmegaConf.select(OmegaConf.create(composed(name, others)), parent) if parent else composed(name, others)
        if not isinstance(known, DictConfig | dict):
            return f"there is no key {key}: {parent} has no keys"
        siblings = [f"{parent}.{each}" if parent else str(each) for each in known if each != "_target_"]
        return f"there is no key {key}; choose from {choice(key, siblings)}"
    return f"the configuration cannot be composed: {text.splitlines()[0]}"


def resumed(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a run, with some keys changed. Raises Refused."""
    file = folder / "config.yaml"
    if not file.is_file():
        runs = sorted(str(each.parent) for each in folder.parent.glob("*/config.yaml"))
        known = f"; choose from {choice(folder, runs)}" if runs else ""
        raise Refused(f"there is no run to resume at {str(folder)!r}{known}")
    config = OmegaConf.load(file)
    OmegaConf.set_struct(config, True)
    for override in parsed(overrides):
        key = override.get_key_element()
        try:
            OmegaConf.update(config, key, override.value())
        except OmegaConfBaseException as error:
            parent, _, _ = key.rpartition(".")
            known = OmegaConf.select(config, parent) if parent else config
            siblings = [f"{parent}.{each}" if parent else str(each) for each in known or {}]
            raise Refused(f"there is no key {key} in {file}; choose from {choice(key, siblings)}") from error
    return plain(config)
