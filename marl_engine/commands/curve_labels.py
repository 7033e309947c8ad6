"""What tells runs apart, in as few words as will do: the fewest keys whose values name each of them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import combinations
from typing import Any

from omegaconf import DictConfig, OmegaConf

from marl_engine.commands.command_line.cli_config import loaded, plain, presets
from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.errors import Refused

SECTIONS = ("game", "solver", "responder", "policy")  # which a label would rather name than their keys
APART = (  # what names a run, or says how long and how often it is looked at, and not what was run
    *("run", "overwrite", "resume", "check", "seed", "threads"),
    *("stop", "iterations", "evaluate_every", "save_every", "episodes"),
)
MOST = 3  # keys in a label
LONGEST = 48  # characters of a label


def leaves(config: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The values of a configuration by dotted keys, like {"solver.magnet_weight": 0.1}; without those in `APART`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not place and key in APART:
            continue
        found |= leaves(value, f"{place}{key}.") if isinstance(value, Mapping) else {f"{place}{key}": value}
    return found


@cache
def section_of(group: str, name: str) -> dict[str, Any]:
    """The section of a group that a preset stands for, with those of the presets of the group that it builds on.

    Raises Refused where a value depends on the rest of a configuration.
    """
    whole = plain(loaded(CONFIGS / group / f"{name}.yaml"))
    bases = [each for each in whole.pop("defaults", []) if isinstance(each, str)]
    merged = OmegaConf.merge({}, *(section_of(group, each) for each in bases), whole.get(group, whole))
    assert isinstance(merged, DictConfig)
    return plain(merged)


@cache
def sections(group: str) -> dict[str, dict[str, Any]]:
    """The sections that a group's presets stand for, by name; those that are not whole by themselves are left out."""
    whole = {}
    for name in presets(group):
        with suppress(Refused):
            whole[name] = section_of(group, name)
    return {name: section for name, section in whole.items() if "_target_" in section}


def preset(group: str, section: Mapping[str, Any]) -> str:
    """The preset that a section is word for word, "" where there is none.

    Of several, the one that is called like a value of it, or else like its class.
    """
    names = [name for name, each in sections(group).items() if each == section]
    own = str(section.get("_target_", "")).rpartition(".")[2].lower()
    return min(names, key=lambda name: (name not in section.values(), name.replace("_", "") != own), default="")


def named(group: str, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each calls its section of a group: the preset that it is word for word, or the class.

    It is the class for all that have it, as soon as one of them is no preset; "" where there is no such section.
    """
    own = [section if isinstance(section := config.get(group), Mapping) else {} for config in configs]
    targets = [str(section.get("_target_", "")) for section in own]
    same = [preset(group, section) for section in own]
    odd = {target for target, name in zip(targets, same, strict=True) if not name}
    classes = {target: target.rpartition(".")[2] for target in targets}
    twice = {name for name in classes.values() if list(classes.values()).count(name) > 1}
    return [
        name if target not in odd else target if classes[target] in twice else classes[target]
        for target, name in zip(targets, same, strict=True)
    ]


def differing(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each configuration its values, as text, of the keys that are not alike in all; the most telling first."""
    shown = [{key: text(value) for key, value in leaves(each).items()} for each in configs]
    for group in SECTIONS:
        for each, name in zip(shown, named(group, configs), strict=True):
            each.pop(f"{group}._target_", None)
            each |= {group: name} if name else {}
    keys = dict.fromkeys(key for each in shown for key in each)
    unlike = sorted((key for key in keys if len({each.get(key) for each in shown}) > 1), key=rank)
    return [{key: each[key] for key in unlike if key in each} for each in shown]


def rank(key: str) -> tuple[int, int]:
    """Sections first, then their keys, then those of the run; the last are ends of schedules, which follow others."""
    group = key.partition(".")[0]
    place = SECTIONS.index(group) if group in SECTIONS else len(SECTIONS)
    return (3 if key.endswith(".over") else 0 if key in SECTIONS else 1 if group in SECTIONS else 2), place


def text(value: Any) -> str:
    """A value as it is written on a command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def label(values: Mapping[str, str], keys: Sequence[str]) -> str:
    """Like "solver=MMD, magnet_weight=0.1": a key without its section, where that leaves no doubt."""
    short = {key: key.partition(".")[2] or key for key in keys}
    plainly = len(set(short.values())) == len(keys)
    return ", ".join(f"{short[key] if plainly else key}={values[key]}" for key in keys if key in values)


def labels(configs: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The shortest labels that tell configurations apart; None where no short ones do."""
    shown = differing(configs)
    keys = dict.fromkeys(key for each in shown for key in each)
    for chosen in (each for size in range(1, MOST + 1) for each in combinations(sorted(keys, key=rank), size)):
        found = [label(each, chosen) for each in shown]
        if len(set(found)) == len(found) and all(0 < len(each) <= LONGEST for each in found):
            return found
    return None


__all__ = ["APART", "labels", "leaves", "named"]
