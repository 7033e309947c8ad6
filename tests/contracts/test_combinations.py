"""Every game, solver, policy and responder of the presets: each combination runs, or a sentence says what it lacks."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
from contracts import check_solver
from omegaconf import OmegaConf
from settings import (
    CONFIGS,
    GAMES,
    GROUPS,
    SERVED,
    SMALL,
    Setting,
    configuration,
    preset,
    presets,
    refusals,
    section,
    smallest,
)

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.commands.command_line.preset_files import check_optional_presets
from marl_engine.configuration import class_of
from marl_engine.errors import Refused
from marl_engine.runs.factory import build

CAPABILITY = re.compile(
    r" (goes with|has no|is not|does not|makes no|must be|is for games in which|is for two-player) "
    "|needs (a responder that (supports|plays games)|language policies)|policies that answer can be mixed"
    "|is for games of two players|cannot be members of a mixture|have no geometric mixture"
)


def test_every_combination_composes_or_names_the_missing_capability():
    messages = Counter(
        message for game in GAMES for policy in presets("policy") for message in refusals(game, policy).values()
    )
    accepted = messages.pop(None)
    assert not [message for message in messages if not CAPABILITY.search(message)]
    counts = f"{round(accepted, -3):,} of {round(accepted + messages.total(), -3):,} combinations"
    assert counts in (CONFIGS.parent / "docs" / "runs.md").read_text(), counts


def check_runs(settings: Iterable[Setting], label: Callable[[Setting], Any]) -> None:
    """Three iterations of the first setting of each label, in which populations of networks play few games."""
    first: dict[Any, Setting] = {}
    for setting in settings:
        first.setdefault(label(setting), setting)
    assert first
    for setting in first.values():
        config = configuration(setting)
        if "games" in config["solver"] and setting.policy != "table":
            config["solver"]["games"] = 4
        check_solver(build(config))


def class_in(setting: Setting, group: str) -> str:
    """The class that a setting names for a group."""
    return str(json.loads(section(setting, group))["_target_"])


def policies_of_classes() -> list[str]:
    """The first preset of every class of policies, and the one of networks for box actions."""
    first: dict[str, str] = {}
    for name in presets("policy"):
        first.setdefault(preset("policy", name)["policy"]["_target_"], name)
    return sorted({*first.values(), "squashed"})


@pytest.mark.parametrize("policy", policies_of_classes())
def test_every_solver_runs_with_the_responders_it_goes_with(policy):
    """In the smallest game; solvers, policies and responders of one class once."""
    pairs = product(presets("solver"), presets("responder"))
    settings = [smallest(policy=policy, solver=solver, responder=responder) for solver, responder in pairs]
    check_runs(
        (setting for setting in settings if setting is not None),
        lambda setting: (class_in(setting, "solver"), class_in(setting, "responder")),
    )


def games_of_classes() -> list[str]:
    """The first preset of every class of games."""
    first: dict[str, str] = {}
    for name in GAMES:
        if name not in SERVED:
            first.setdefault(preset("game", name)["game"]["_target_"], name)
    return list(first.values())


@pytest.mark.parametrize("game", games_of_classes())
def test_every_policy_and_responder_runs_in_the_games_it_goes_with(game):
    """By self-play; games and policies of one class, and responders whose presets set the same, once."""
    check_runs(
        (
            setting
            for policy in presets("policy")
            for setting, message in refusals(game, policy).items()
            if message is None and setting.solver == "self_play"
        ),
        lambda setting: (class_in(setting, "policy"), section(setting, "responder")),
    )


@pytest.mark.parametrize(
    "setting",
    [
        Setting("kuhn_poker", "nash_md", "network", "ippo"),
        Setting("overcooked/coordination_ring", "mmd", "network", "mappo"),
        Setting("overcooked/coordination_ring", "e3t", "network", "ippo"),
        Setting("preference/tiny", "ipo", "tiny", "answers"),
        Setting("leduc_poker", "r_nad", "table", "exact"),
        Setting("control", "mdpo", "squashed", "off_policy"),
    ],
)
def test_presets_are_merged_as_hydra_merges_them(setting):
    hydra = compose_config("train", [f"{group}={name}" for group, name in setting._asdict().items()])
    for group in GROUPS:
        small = {key.partition(".")[2] for key in SMALL if key.startswith(f"{group}.")}
        ours, theirs = json.loads(section(setting, group)), hydra[group]
        assert set(ours) == set(theirs)
        assert {key for key in ours if ours[key] != theirs[key]} <= small


@pytest.mark.parametrize(
    ("words", "policy", "responder"),
    [
        ("game=kuhn_poker", "TabularSpec", "ExactResponder"),
        ("game=kuhn_poker solver=nash_md policy=network", "MLPSpec", "PPO"),
        ("game=overcooked", "MLPSpec", "PPO"),
        ("game=overcooked solver=mmd", "MLPSpec", "PPO"),
        ("game=iterated_prisoners_dilemma solver=lola", "SoftmaxTableSpec", "GradientAscent"),
        ("game=preference/sentiment solver=nash_md", "TransformerSpec", "PreferenceResponder"),
        ("game=preference/tiny solver=ipo", "EnumerableLMSpec", "PreferenceResponder"),
        ("game=overcooked solver=cfr", "TabularSpec", "ExactResponder"),
    ],
)
def test_a_game_chooses_its_policy_and_a_policy_its_responder(words, policy, responder):
    config = compose_config("train", words.split())
    assert (class_of(config["policy"]["_target_"]).__name__, class_of(config["responder"]["_target_"]).__name__) == (
        policy,
        responder,
    )
    assert (config["steps"], config["iterations"]) != (None, None)


def test_solvers_set_no_run_lengths():
    for name in presets("solver"):
        assert not {"steps", "iterations"} & set(OmegaConf.load(CONFIGS / "solver" / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("group", "name"), [("fit", "nash_md_answer"), ("pace", "tabel"), ("combination", "kuhn_poker_mmd")]
)
def test_a_misspelt_optional_preset_is_refused(group, name, tmp_path):
    (tmp_path / group).mkdir()
    (tmp_path / group / f"{name}.yaml").write_text("# @package _global_\niterations: 1\n")
    with pytest.raises(Refused, match=rf"{group}/{name}\.yaml is read by no run; its name must be"):
        check_optional_presets(tmp_path)
