"""Short labels for runs: the fewest configuration keys whose values distinguish them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import combinations
from typing import Any

from omegaconf import DictConfig, OmegaConf

from marl_engine.commands.command_line.cli_config import to_dict
from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.preset_files import load_config, presets
from marl_engine.errors import Refused

SECTIONS = ("game", "solver", "responder", "policy")  # labels prefer these to their keys
NOT_IN_LABELS = (  # keys that name a run or set its length and evaluation
    *("run", "overwrite", "resume", "check", "seed", "threads"),
    *("stop", "iterations", "evaluate_every", "save_every", "episodes"),
)
MAX_KEYS = 3  # largest number of keys in a label
MAX_LENGTH = 48  # largest number of characters in a label


def flatten_config(config: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Returns the values of a configuration by dotted keys, such as {"solver.magnet_weight": 0.1}.

    Keys in `NOT_IN_LABELS` are left out.
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        if not place and key in NOT_IN_LABELS:
            continue
        values |= flatten_config(value, f"{place}{key}.") if isinstance(value, Mapping) else {f"{place}{key}": value}
    return values


@cache
def section_of(group: str, name: str) -> dict[str, Any]:
    """Returns the section of a preset, merged with the presets that it builds on.

    Raises Refused if a value depends on the rest of a configuration.
    """
    config = to_dict(load_config(CONFIGS / group / f"{name}.yaml"))
    bases = [each for each in config.pop("defaults", []) if isinstance(each, str)]
    merged = OmegaConf.merge({}, *(section_of(group, each) for each in bases), config.get(group, config))
    assert isinstance(merged, DictConfig)
    return to_dict(merged)


@cache
def preset_sections(group: str) -> dict[str, dict[str, Any]]:
    """Returns the sections of a group's presets by name, except those that depend on the rest of a configuration."""
    sections = {}
    for name in presets(group):
        with suppress(Refused):
            sections[name] = section_of(group, name)
    return {name: section for name, section in sections.items() if "_target_" in section}


def matching_preset(group: str, section: Mapping[str, Any]) -> str:
    """Returns the name of the preset that equals a section, "" if there is none.

    If there are several, it is one that occurs among the section's values, or else one named like its class.
    """
    names = [name for name, each in preset_sections(group).items() if each == section]
    class_name = str(section.get("_target_", "")).rpartition(".")[2].lower()
    return min(names, key=lambda name: (name not in section.values(), name.replace("_", "") != class_name), default="")


def section_names(group: str, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a name for each configuration's section of a group: that of the preset that equals it, or its class.

    If one section of a class equals no preset, the class name is used for all sections of that class. The name is "" if
    there is no such section.
    """
    sections = [section if isinstance(section := config.get(group), Mapping) else {} for config in configs]
    targets = [str(section.get("_target_", "")) for section in sections]
    names = [matching_preset(group, section) for section in sections]
    without_preset = {target for target, name in zip(targets, names, strict=True) if not name}
    classes = {target: target.rpartition(".")[2] for target in targets}
    repeated = {name for name in classes.values() if list(classes.values()).count(name) > 1}
    return [
        name if target not in without_preset else target if classes[target] in repeated else classes[target]
        for target, name in zip(targets, names, strict=True)
    ]


def differing_values(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Returns the values that differ between configurations, as text, by key and for each configuration.

    The most important keys come first.
    """
    rows = [{key: format_value(value) for key, value in flatten_config(each).items()} for each in configs]
    for group in SECTIONS:
        for each, name in zip(rows, section_names(group, configs), strict=True):
            each.pop(f"{group}._target_", None)
            each |= {group: name} if name else {}
    keys = dict.fromkeys(key for each in rows for key in each)
    unlike = sorted((key for key in keys if len({each.get(key) for each in rows}) > 1), key=rank)
    return [{key: each[key] for key in unlike if key in each} for each in rows]


def rank(key: str) -> tuple[int, int]:
    """Returns a number by which keys are sorted: sections first, then their keys, then keys of the run.

    The ends of schedules come last, since they depend on other keys.
    """
    group = key.partition(".")[0]
    place = SECTIONS.index(group) if group in SECTIONS else len(SECTIONS)
    return (3 if key.endswith(".over") else 0 if key in SECTIONS else 1 if group in SECTIONS else 2), place


def format_value(value: Any) -> str:
    """Formats a value as on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def label(values: Mapping[str, str], keys: Sequence[str]) -> str:
    """Returns a label such as "solver=MMD, magnet_weight=0.1".

    Section names are omitted if keys are unique without them.
    """
    short = {key: key.partition(".")[2] or key for key in keys}
    unique = len(set(short.values())) == len(keys)
    return ", ".join(f"{short[key] if unique else key}={values[key]}" for key in keys if key in values)


def labels(configs: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Returns the shortest labels that distinguish configurations; None if there are no short ones."""
    rows = differing_values(configs)
    keys = dict.fromkeys(key for each in rows for key in each)
    for subset in (each for size in range(1, MAX_KEYS + 1) for each in combinations(sorted(keys, key=rank), size)):
        candidates = [label(each, subset) for each in rows]
        if len(set(candidates)) == len(candidates) and all(0 < len(each) <= MAX_LENGTH for each in candidates):
            return candidates
    return None
