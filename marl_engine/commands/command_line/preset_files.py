"""Files of presets: which there are, which ones a configuration has chosen, and what they set."""

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.overrides import quote_text
from marl_engine.errors import Refused

OPTIONAL_GROUPS = {  # groups whose presets are read if they exist, and what their names consist of
    "pace": "POLICY",
    "suit": "POLICY_RESPONDER",
    "team": "POLICY_SOLVER",
    "tune": "GAME_RESPONDER",
    "fit": "SOLVER_RESPONDER",
    "combination": "GAME_SOLVER_RESPONDER",
}


def search_path(folder: Path | None) -> list[str]:
    """Returns the override that adds the user's folder of presets to Hydra's search path."""
    return [] if folder is None else [f"hydra.searchpath=[{quote_text(f'file://{folder.resolve()}')}]"]


def presets(group: str, extra: Path | None = None) -> list[str]:
    """Returns the names of a group's presets, including subfolders and the user's folder."""
    folders = [folder / group for folder in (CONFIGS, extra) if folder is not None]
    return [str(path.relative_to(each).with_suffix("")) for each in folders for path in sorted(each.rglob("*.yaml"))]


def check_optional_presets(extra: Path | None = None) -> None:
    """Raises Refused for a file of OPTIONAL_GROUPS that no run would read, whatever presets it chooses."""
    groups = {group.upper(): presets(group, extra) for group in ("game", "policy", "responder", "solver")}
    known = {
        group: (pattern, ["_".join(names) for names in product(*(groups[each] for each in pattern.split("_")))])
        for group, pattern in OPTIONAL_GROUPS.items()
    }
    for group, (pattern, names) in known.items():
        for name in presets(group, extra):
            if name not in names:
                nearest = get_close_matches(name, names, n=1, cutoff=0.0)[0]
                raise Refused(f"{group}/{name}.yaml is read by no run; its name must be {pattern}, such as {nearest}")


def preset_keys(hydra: DictConfig, config: DictConfig) -> set[str]:
    """Returns the dotted keys that the chosen presets set in the sections of their own groups.

    Those of classes that have been replaced by others in `config` are left out.
    """
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    keys: set[str] = set()
    for group, name in hydra.runtime.choices.items():
        for file in (folder / group / f"{name}.yaml" for folder in folders):
            if "/" not in group and file.is_file():
                preset = load_config(file)
                section, values = (OmegaConf.to_container(each) for each in (preset.get(group, preset), config))
                assert isinstance(values, dict)
                keys |= keys_of_classes(section, values.get(group), group)
    return keys


def keys_of_classes(section: Any, values: Any, place: str) -> set[str]:
    """Returns the dotted keys of a section and of everything in it, without those of classes replaced in `values`."""
    if not isinstance(section, Mapping) or not isinstance(values, Mapping):
        return {place}
    if section.get("_target_") != values.get("_target_"):
        return {place}
    below = (keys_of_classes(value, values.get(key), f"{place}.{key}") for key, value in section.items())
    return {place}.union(*below)


def load_config(file: Path) -> DictConfig:
    """Reads a configuration file. Raises Refused."""
    try:
        config = OmegaConf.load(file)
    except (YAMLError, OSError, ValueError) as error:
        raise Refused(f"{file} cannot be read: {error}") from error
    if not isinstance(config, DictConfig):
        raise Refused(f"{file} cannot be read: it must have keys")
    return config
