"""Reads the command line with Hydra, and says in one sentence what is wrong with it."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.overrides import parse_overrides, quote, restore_texts
from marl_engine.configuration import class_of
from marl_engine.errors import Notice, Refused, choice, describe, excerpt, unknown
from marl_engine.runs.folder import RunFolder

OWN = re.compile(r"(game|game\.judge|policy|responder|solver|runner)\._target_")
OPEN = ("game.judge.options.",)  # sections whose keys somebody else knows, here an endpoint
STEPS = 1_000_000  # of a game without a preset
FIXED = {  # what a run that goes on cannot change: its weights, games under way and folder would not fit
    *("game", "policy", "solver", "responder", "runner", "seed", "run", "overwrite", "init"),
    *("responder._target_", "responder.num_envs", "responder.critic"),
}


def refuse(message: object) -> NoReturn:
    """Prints one sentence and exits with 2."""
    print(" ".join(str(message).split()), file=sys.stderr)
    raise SystemExit(2)


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what is wrong with the input or a disk into one sentence; HYDRA_FULL_ERROR=1 shows where it came from.

    A Notice is a sentence too, and ends nothing.
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
    """Prints a Notice as it stands, and another warning as Python does."""
    if isinstance(message, Notice):
        print(" ".join(str(message).split()), file=sys.stderr)
    else:
        otherwise(message, *where)


def composed(name: str, words: Sequence[str], own: Path | None = None) -> dict[str, Any]:
    """The configuration that config `name` and key=value words describe, with presets of `own` folder, too.

    Raises Refused.
    """
    overrides = parse_overrides(words)
    for override in overrides:
        if override.is_sweep_override():
            raise Refused(
                f"{override.input_line} names several values; add -m to run one after the other, "
                "or quote what is one value with commas"
            )
    first = [*search_path(own), *opened(overrides)]
    try:
        with initialize_config_dir(str(CONFIGS), version_base=None):
            check_groups(overrides)
            return completed(compose(name, overrides=first, return_hydra_config=True), overrides)
    except MissingConfigException as error:
        group, _, asked = (error.missing_cfg_file or "").partition("/")
        raise Refused(f"there is no {group} {asked!r}; choose from {choice(asked, presets(group, own))}") from error
    except ConfigCompositionException as error:
        raise Refused(explained(error, name, first)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise Refused(f"the configuration cannot be read: {excerpt(str(error))}") from error


def search_path(own: Path | None) -> list[str]:
    """The override by which Hydra looks for presets in a folder of the user's, too."""
    return [] if own is None else [f"hydra.searchpath=[{quote(f'file://{own.resolve()}')}]"]


def presets(group: str, own: Path | None = None) -> list[str]:
    """The names of a group's presets, those in its subfolders and those in a folder of the user's, too."""
    folders = [folder / group for folder in (CONFIGS, own) if folder is not None]
    return [str(path.relative_to(each).with_suffix("")) for each in folders for path in sorted(each.rglob("*.yaml"))]


def own_classes(overrides: Sequence[Override]) -> set[str]:
    """The sections for which the command line names a class of the user's, like game._target_=my_package.MyGame."""
    return {key.removesuffix("._target_") for override in overrides if OWN.fullmatch(key := override.key_or_group)}


def opened(overrides: Sequence[Override]) -> list[str]:
    """The overrides as text; a class of the user's may have keys that the preset does not know, and so may OPEN.

    A game of the user's needs no preset; then it is played for STEPS steps, if nobody says another number.
    """
    own = (*OPEN, *(f"{section}." for section in own_classes(overrides)))
    texts = [(override.key_or_group, str(override.input_line)) for override in overrides]
    alone = ["~game", f"steps={STEPS}"] if "game." in own and "game" not in dict(texts) else []
    return alone + [f"++{text.lstrip('+')}" if key.startswith(own) else text for key, text in texts]


def completed(composition: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """What a run is made from: Hydra's composition with texts as they were written, resolved, and fitted.

    Raises Refused.
    """
    config = OmegaConf.masked_copy(composition, [str(key) for key in composition if key != "hydra"])
    restore_texts(config, overrides)

    @cache
    def written() -> set[str]:
        own = tuple(f"{section}." for section in own_classes(overrides))
        keys = {override.key_or_group for override in overrides}
        return keys | {key for key in preset_keys(composition.hydra) if not key.startswith(own)}

    return fitted(plain(config), written)


def fitted(section: Mapping[str, Any], written: Callable[[], Collection[str]], place: str = "") -> dict[str, Any]:
    """Without the keys that the class of a section does not have, unless they were `written` for it.

    Such keys come from presets of other groups, meant for another class, or from the preset of a class that the user
    has exchanged. `place` is the section's, like "game.judge.".
    """
    names = class_keys(section)
    return {
        key: fitted(value, written, f"{place}{key}.") if isinstance(value, Mapping) else value
        for key, value in section.items()
        if names is None or key in names or any(f"{each}.".startswith(f"{place}{key}.") for each in written())
    }


def class_keys(section: Mapping[str, Any]) -> set[str] | None:
    """The keys that the class of a section has; None where there is no class, or one that takes any."""
    if "_target_" not in section:
        return None
    kind = class_of(section["_target_"])
    try:
        parameters = signature(kind).parameters.values()
    except ValueError:  # some of Python's own classes have no signature
        return None
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    return None if takes_any else {"_target_", *(parameter.name for parameter in parameters)}


def preset_keys(hydra: DictConfig) -> set[str]:
    """The dotted keys that the chosen presets write in the sections of their own groups."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    keys: set[str] = set()
    for group, name in hydra.runtime.choices.items():
        for file in (folder / group / f"{name}.yaml" for folder in folders):
            if "/" not in group and file.is_file():
                preset = loaded(file)
                keys |= dotted_keys(OmegaConf.to_container(preset.get(group, preset)), group)
    return keys


def dotted_keys(section: Any, place: str) -> set[str]:
    """The place of a section and of everything in it."""
    below = section.items() if isinstance(section, Mapping) else ()
    return {place}.union(*(dotted_keys(value, f"{place}.{key}") for key, value in below))


def plain(config: DictConfig) -> dict[str, Any]:
    """As dicts and lists, interpolations resolved. Raises Refused."""
    try:
        found = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise Refused(f"the configuration cannot be resolved: {excerpt(str(error))}") from error
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def check_groups(overrides: Sequence[Override]) -> None:
    """Raises Refused where a group of presets is given something that is not the name of one."""
    for override in overrides:
        options = GlobalHydra.instance().config_loader().get_group_options(override.key_or_group)
        if options and isinstance(override.value(), list | dict):
            raise Refused(f"{override.key_or_group} must be the name of a preset, not {override.value()!r}")
        if options and not isinstance(override.value(), str):
            raise Refused(f"there is no {override.input_line}; choose from {choice('', options)}")


def explained(error: Exception, name: str, overrides: Sequence[str]) -> str:
    """What to write instead of an override that Hydra cannot apply."""
    text = str(error)
    if asked := re.search(r"You must specify '(\w+)'", text):
        options = re.findall(r"^\t(\S+)", text, re.M)
        return f"say which {asked[1]}: {asked[1]}= one of {choice('', options)}"
    if wrong := re.search(r"Could not override '([\w./@]+)'", text):
        others = [override for override in overrides if not override.startswith(f"{wrong[1]}=")]
        exact = re.search(r"full_key: (\S+)", str(error.__cause__))
        return str(no_key(OmegaConf.create(composed(name, others)), exact[1] if exact else wrong[1]))
    if unfit := re.match(r"Error merging override (.*)", text):
        return misfit(unfit[1])
    return f"the configuration cannot be composed: {excerpt(text)}"


def misfit(override: str) -> str:
    """A list or keys were given to a key that takes something else."""
    given, wanted = ("keys", "a list") if "={" in override else ("a list", "keys or a number")
    return f"{override} does not fit: {override.partition('=')[0]} takes {wanted}, not {given}"


def no_key(config: DictConfig, key: str) -> Refused:
    """A configuration has no such key."""
    parent, _, last = key.rpartition(".")
    known = OmegaConf.select(config, parent) if parent else config
    siblings = [str(each) for each in known if each != "_target_"] if isinstance(known, DictConfig) else []
    return unknown(last, f"{parent}." if parent else "", siblings)


def resumed(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a run, with some keys changed. Raises Refused."""
    file = folder / "config.yaml"
    if not file.is_file():
        runs = {str(each.parent) for parent in (folder.parent, Path("runs")) for each in parent.glob("*/config.yaml")}
        known = f"; choose from {choice(folder, runs)}" if runs else ""
        raise Refused(f"there is no run to resume at {str(folder)!r}{known}")
    config = loaded(file)
    RunFolder(folder).check_layout()
    OmegaConf.set_struct(config, True)
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if override.is_sweep_override():
            raise Refused(f"{override.input_line} names several values, but resume= goes on with one run")
        if key in FIXED or key.startswith(("game.", "policy.", "solver.")):
            raise Refused(f"{key} cannot change when a run goes on; leave it out, or start a new run")
        if not known_key(config, key):
            raise no_key(config, key)
        try:
            OmegaConf.update(config, key, override.value())
        except OmegaConfBaseException as error:
            raise Refused(misfit(str(override.input_line))) from error
    return plain(config)


def known_key(config: DictConfig, key: str) -> bool:
    """Whether a configuration has a key, be its value null."""
    parent, _, last = key.rpartition(".")
    siblings = OmegaConf.select(config, parent) if parent else config
    return isinstance(siblings, DictConfig) and last in siblings


def loaded(file: Path) -> DictConfig:
    """What a run was asked. Raises Refused."""
    try:
        config = OmegaConf.load(file)
    except (YAMLError, OSError, ValueError) as error:
        raise Refused(f"{file} cannot be read: {error}") from error
    if not isinstance(config, DictConfig):
        raise Refused(f"{file} cannot be read: it must have keys")
    return config
