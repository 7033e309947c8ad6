"""Composes configurations with Hydra, and reports errors in one sentence."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from inspect import Parameter, signature
from operator import eq
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.overrides import parse_overrides, restore_texts
from marl_engine.commands.command_line.preset_files import (
    check_optional_presets,
    load_config,
    preset_keys,
    presets,
    search_path,
)
from marl_engine.configuration import better_preset, class_of
from marl_engine.errors import Notice, Refused, choice, describe, excerpt, unknown
from marl_engine.runs.folder import RunFolder, nearby_runs

TARGET_KEY = re.compile(r"(game|game\.judge|policy|responder|solver|runner)\._target_")
OPEN_SECTIONS = (  # sections with arbitrary keys: of endpoints, PettingZoo and RLlib
    *("game.judge.options.", "game.arguments", "responder.training"),
)
GAME_CHOICES = ("game", "game._target_")
DEFAULT_STEPS = 1_000_000  # default for a game without a preset
FIXED_KEYS = {  # keys that cannot change when a run is resumed
    *("game", "policy", "solver", "responder", "runner", "seed", "run", "overwrite", "init"),
    *("responder._target_", "responder.num_envs", "responder.critic", "responder.algorithm"),
}
OmegaConf.register_new_resolver("equal", eq, replace=True)  # in presets: whether two values are equal
OmegaConf.register_new_resolver(  # in presets: a share of a limit, such as steps; null if there is none
    "share", lambda share, limit: None if limit is None else share * limit, replace=True
)


def refuse(message: object) -> NoReturn:
    """Prints a sentence and exits with 2."""
    print(" ".join(str(message).split()), file=sys.stderr)
    raise SystemExit(2)


@contextmanager
def refusals() -> Iterator[None]:
    """Converts input and disk errors to one sentence; HYDRA_FULL_ERROR=1 shows the traceback.

    A Notice is printed as a sentence, too, and does not end the command.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(show_warning, warnings.showwarning)
            yield
    except (Refused, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or isinstance(error, BrokenPipeError):
            raise
        refuse(describe(error))


def show_warning(otherwise: Callable[..., None], message: Warning | str, *where: Any) -> None:
    """Prints the message of a Notice, and other warnings as Python does."""
    if isinstance(message, Notice):
        print(" ".join(str(message).split()), file=sys.stderr)
    else:
        otherwise(message, *where)


def compose_config(name: str, words: Sequence[str], folder: Path | None = None) -> dict[str, Any]:
    """Returns the configuration described by config `name` and words key=value.

    `folder` has presets of the user. If the class of the game names a preset that suits it better, that one is taken.
    Raises Refused.
    """
    return choose_presets(name, words, folder)[0]


def choose_presets(name: str, words: Sequence[str], folder: Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """Returns what `compose_config` does, and the words by which a better preset of the game is named."""
    refusal = None
    try:
        config = compose_presets(name, words, folder)
    except Refused as error:  # the better preset may have the keys that this one lacks
        words_of_game = known_words_of_game(name, words, folder)
        if not words_of_game:
            raise
        config, refusal = compose_presets(name, words_of_game, folder), error
    game = config.get("game")
    better = better_preset(game) if isinstance(game, Mapping) and "_target_" in game else None
    if better is not None and f"game={better[0]}" in words:
        better = None
    if better is None and refusal is not None:
        raise refusal
    if better is None:
        return config, list(words)
    warnings.warn(Notice(f"{better[1]}; so it is played with game={better[0]}"), stacklevel=2)
    kept = [word for word in words if word.partition("=")[0] not in GAME_CHOICES]
    chosen = [*kept, f"game={better[0]}"]
    return compose_presets(name, chosen, folder), chosen


def known_words_of_game(name: str, words: Sequence[str], folder: Path | None) -> list[str]:
    """Returns the words that name the game, and those that set keys which its preset has. Raises Refused."""
    choices = [word for word in words if word.partition("=")[0] in GAME_CHOICES]
    if not choices:
        return []
    keys = compose_presets(name, choices, folder).get("game") or {}
    others = [word for word in words if word.startswith("game.") and word not in choices]
    return choices + [word for word in others if re.split("[.=]", word)[1] in keys]


def compose_presets(name: str, words: Sequence[str], folder: Path | None = None) -> dict[str, Any]:
    """Returns the configuration described by config `name` and words key=value. Raises Refused."""
    overrides = parse_overrides(words)
    for override in overrides:
        if override.is_sweep_override():
            raise Refused(
                f"{override.input_line} names several values; add -m to run one after the other, "
                "or quote what is one value with commas"
            )
    if folder is not None:
        check_optional_presets(folder)
    first = [*search_path(folder), *hydra_overrides(overrides)]
    try:
        with initialize_config_dir(str(CONFIGS), version_base=None):
            check_groups(overrides, folder)
            return complete_config(compose(name, overrides=first, return_hydra_config=True), overrides)
    except MissingConfigException as error:
        group, _, preset = (error.missing_cfg_file or "").partition("/")
        raise Refused(
            f"there is no {group} {preset!r}; choose from {choice(preset, presets(group, folder))}"
        ) from error
    except ConfigCompositionException as error:
        raise Refused(explain(error, name, first)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise Refused(f"the configuration cannot be read: {excerpt(str(error))}") from error


def custom_classes(overrides: Sequence[Override]) -> set[str]:
    """Returns the sections whose class is given on the command line, as in game._target_=my_package.MyGame."""
    return {
        key.removesuffix("._target_") for override in overrides if TARGET_KEY.fullmatch(key := override.key_or_group)
    }


def hydra_overrides(overrides: Sequence[Override]) -> list[str]:
    """Returns the overrides as text for Hydra. Custom classes, and OPEN_SECTIONS, may have keys that presets lack.

    A custom game needs no preset; without one, it is played for DEFAULT_STEPS steps by default.
    """
    open_prefixes = (*OPEN_SECTIONS, *(f"{section}." for section in custom_classes(overrides)))
    texts = [(override.key_or_group, str(override.input_line)) for override in overrides]
    defaults = (
        ["~game", "tune=none", "combination=none", f"steps={DEFAULT_STEPS}"]
        if "game." in open_prefixes and "game" not in dict(texts)
        else []
    )
    return defaults + [f"++{text.lstrip('+')}" if key.startswith(open_prefixes) else text for key, text in texts]


def complete_config(composition: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """Returns Hydra's composition with original texts, resolved, and without keys that do not apply.

    Raises Refused.
    """
    config = OmegaConf.masked_copy(composition, [str(key) for key in composition if key != "hydra"])
    restore_texts(config, overrides)

    @cache
    def explicit_keys() -> set[str]:
        return {override.key_or_group for override in overrides} | preset_keys(composition.hydra, config)

    return drop_unknown_keys(to_dict(config), explicit_keys)


def drop_unknown_keys(
    section: Mapping[str, Any], explicit_keys: Callable[[], Collection[str]], place: str = ""
) -> dict[str, Any]:
    """Drops keys that the class of a section does not have, unless they are among `explicit_keys`.

    Such keys come from presets of other groups that are meant for another class, or from the preset of a class that the
    user has replaced. `place` is the prefix of the section, such as "game.judge.".
    """
    names = class_keys(section)
    return {
        key: drop_unknown_keys(value, explicit_keys, f"{place}{key}.") if isinstance(value, Mapping) else value
        for key, value in section.items()
        if names is None or key in names or any(f"{each}.".startswith(f"{place}{key}.") for each in explicit_keys())
    }


def class_keys(section: Mapping[str, Any]) -> set[str] | None:
    """Returns the keys of a section's class; None if there is no class, or if it accepts any key."""
    if "_target_" not in section:
        return None
    kind = class_of(section["_target_"])
    try:
        parameters = signature(kind).parameters.values()
    except ValueError:  # some built-in classes have no signature
        return None
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    return None if takes_any else {"_target_", *(parameter.name for parameter in parameters)}


def to_dict(config: DictConfig) -> dict[str, Any]:
    """Converts a configuration to dicts and lists with resolved interpolations. Raises Refused."""
    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise Refused(f"the configuration cannot be resolved: {excerpt(str(error))}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def check_groups(overrides: Sequence[Override], folder: Path | None = None) -> None:
    """Raises Refused if a group of presets is given something that is not the name of a preset."""
    for override in overrides:
        if isinstance(override.value(), str):
            continue
        options = presets(override.key_or_group, folder)
        if options and isinstance(override.value(), list | dict):
            raise Refused(f"{override.key_or_group} must be the name of a preset, not {override.value()!r}")
        if options:
            raise Refused(f"there is no {override.input_line}; choose from {choice('', options)}")


def explain(error: Exception, name: str, overrides: Sequence[str]) -> str:
    """Explains an override that Hydra cannot apply, with valid choices."""
    text = str(error)
    if group := re.search(r"You must specify '(\w+)'", text):
        options = re.findall(r"^\t(\S+)", text, re.M)
        return f"say which {group[1]}: {group[1]}= one of {choice('', options)}"
    if failed := re.search(r"Could not override '([\w./@]+)'", text):
        rest = [override for override in overrides if not override.startswith(f"{failed[1]}=")]
        if len(rest) == len(overrides):  # a preset is wrong, not what was typed
            return f"the configuration cannot be composed: {excerpt(text)}"
        exact = re.search(r"full_key: (\S+)", str(error.__cause__))
        return str(unknown_key(OmegaConf.create(compose_presets(name, rest)), exact[1] if exact else failed[1]))
    if unmergeable := re.match(r"Error merging override (.*)", text):
        return describe_misfit(unmergeable[1])
    return f"the configuration cannot be composed: {excerpt(text)}"


def describe_misfit(override: str) -> str:
    """Explains that a list or keys were given for a key of another type."""
    actual, expected = ("keys", "a list") if "={" in override else ("a list", "keys or a number")
    return f"{override} does not fit: {override.partition('=')[0]} takes {expected}, not {actual}"


def unknown_key(config: DictConfig, key: str) -> Refused:
    """Returns the error for a key that a configuration does not have."""
    parent, _, last = key.rpartition(".")
    section = OmegaConf.select(config, parent) if parent else config
    siblings = [str(each) for each in section if each != "_target_"] if isinstance(section, DictConfig) else []
    return unknown(last, f"{parent}." if parent else "", siblings)


def resume_config(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the configuration of a run with some keys changed. Raises Refused."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise Refused(f"there is no run to resume at {str(folder)!r}{nearby_runs(folder)}")
    config = load_config(file)
    RunFolder(folder).check_layout()
    OmegaConf.set_struct(config, True)
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if override.is_sweep_override():
            raise Refused(f"{override.input_line} names several values, but resume= goes on with one run")
        if key in FIXED_KEYS or key.startswith(("game.", "policy.", "solver.")):
            raise Refused(f"{key} cannot change when a run goes on; leave it out, or start a new run")
        if not has_key(config, key):
            raise unknown_key(config, key)
        try:
            OmegaConf.update(config, key, override.value())
        except OmegaConfBaseException as error:
            raise Refused(describe_misfit(str(override.input_line))) from error
    return to_dict(config)


def has_key(config: DictConfig, key: str) -> bool:
    """Whether a configuration has a key, even if its value is null."""
    parent, _, last = key.rpartition(".")
    siblings = OmegaConf.select(config, parent) if parent else config
    return isinstance(siblings, DictConfig) and last in siblings
