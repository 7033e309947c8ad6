"""Commands as users type them: in a shell, from any folder, and as the documentation has them."""

import os
import re
import subprocess
import sys
from importlib import import_module
from inspect import signature
from io import StringIO
from pathlib import Path

import pytest
import torch
from command_runs import marl_train
from omegaconf import OmegaConf

from marl_engine import __version__
from marl_engine.commands.command_line.arguments import read_line
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.commands.command_line.environment import CONFIGS
from marl_engine.commands.command_line.overrides import parse_override, sweep_jobs
from marl_engine.commands.train import PARTS, main, restore_run, split_config
from marl_engine.configuration import class_of, validate_fields
from marl_engine.errors import Halted, Refused
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.run import check_metrics
from marl_engine.types import Progress

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    CONFIGS / "train.yaml",
]
COMMAND = re.compile(r"^\s+(?:\.venv/bin/)?(marl-[a-z]+ .*)$|`(?:\.venv/bin/)?(marl-[a-z]+ [^`]+)`", re.M)
PROCESS = "import sys; sys.path.pop(0); from marl_engine.commands.train import main; main()"
PRESET = (
    "# @package _global_\ngame: {_target_: games.normal_form.MatrixGame, name: chicken, payoffs: null}\niterations: 1\n"
)
FORM = (*("game=matrix", "solver=normal_form", "iterations=1"),)


def documented():
    """Yields every command line of the documentation, with its comment."""
    texts = [re.sub(r"(?<=\S)\n(?! |\n)", " ", path.read_text()) for path in DOCUMENTS]
    lines = [line.strip() for text in texts for groups in COMMAND.findall(text) for line in groups if line]
    return sorted(set(lines))


def shell_words(line, folder=None):
    """Returns the words that bash makes of a line, without the command."""
    done = subprocess.run(
        ["bash", "-c", f'words() {{ printf "%s\\0" "$@"; }}; words {line}'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\0")[1:-1]


def check_declared(values, section):
    """Checks that a section has only keys that its class declares, with values of the declared types."""
    for key, value in values.items():
        if isinstance(value, dict) and "_target_" in value:
            check_declared(value, f"{section}.{key}")
    validate_fields(
        {key: value for key, value in values.items() if key != "_target_"}, class_of(values["_target_"]), section
    )


def test_documents_have_commands():
    lines = documented()
    assert len(lines) > 25
    assert any("kuhn_poker(players=3)" in line for line in lines)


@pytest.mark.parametrize("line", [line for line in documented() if not line.startswith("marl-train")])
def test_documented_command_lacks_nothing_but_its_run(line, tmp_path, monkeypatch, capsys):
    (tmp_path / "questions.txt").write_text("Why?")
    command = import_module(f"marl_engine.commands.{line.split()[0].removeprefix('marl-')}")
    monkeypatch.setattr(sys, "argv", [line.split()[0], *shell_words(line, tmp_path)])
    monkeypatch.setattr(sys, "stdin", StringIO("Why?"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command.main()
    assert capsys.readouterr().err.startswith("there is no run at 'runs")


@pytest.mark.parametrize("line", [line for line in documented() if line.startswith("marl-train")])
def test_documented_command_is_accepted(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_presets" / "game").mkdir(parents=True)
    (tmp_path / "my_presets" / "game" / "mine.yaml").write_text(PRESET)
    typed = read_line(shell_words(line))
    if typed.action == "help" or any(word.startswith("resume=") for word in typed.words):
        return
    words = [word.replace("my_package.MyGame", "toys.Matrix") for word in typed.words if word != "game.size=3"]
    jobs = sweep_jobs(words) if typed.action == "multirun" else [words]
    for job in jobs:
        config = compose_config("train", job, typed.presets)
        split_config(config)
        for part in PARTS:
            check_declared(config[part], part)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("game.name=kuhn_poker(players=3)", "name", "kuhn_poker(players=3)"),
        ("game.name='kuhn_poker(players=3)'", "name", "kuhn_poker(players=3)"),  # as one quotes for Hydra
        (
            "game.name=goofspiel(num_cards=4,points_order=descending)",
            "name",
            "goofspiel(num_cards=4,points_order=descending)",
        ),
        ("game.name=f(game=g(a=[1,2],b={x}),c=d)", "name", "f(game=g(a=[1,2],b={x}),c=d)"),
        ("game.payoffs=my games/a (1).csv", "payoffs", "my games/a (1).csv"),
        ("game.payoffs=/tmp/[x]/$HOME/~a#b.csv", "payoffs", "/tmp/[x]/$HOME/~a#b.csv"),
        ("game.payoffs=O'Neill.csv", "payoffs", "O'Neill.csv"),
        ("game.payoffs=[x]", "payoffs", "[x]"),
        ("game.name=1", "name", "1"),
        ("game.name=2024_01", "name", "2024_01"),
        ("game.name=1e3", "name", "1e3"),
        ("game.name=true", "name", "true"),
        ("game.payoffs=null", "payoffs", None),
    ],
)
def test_text_values_are_used_literally(word, key, value):
    assert compose_config("train", ["game=matrix", word])["game"][key] == value


def test_names_of_runs_may_look_like_anything():
    for name in ("1", "[/b]", "{a}", "[1,2", "a$b", "é #1 (x)", "3.0"):
        assert compose_config("train", ["game=kuhn_poker", f"run={name}"])["run"] == name
    assert compose_config("train", ["game=kuhn_poker", "seed=7", "run=of_${seed}"])["run"] == "of_7"


def test_numbers_and_lists_keep_their_types():
    config = compose_config(
        "train", ["game=overcooked", "seed=1", "policy.hidden=[8,8]", "responder.learning_rate=1e-3"]
    )
    assert (config["seed"], config["policy"]["hidden"], config["responder"]["learning_rate"]) == (1, [8, 8], 1e-3)


def test_sweep_over_names_with_brackets():
    jobs = sweep_jobs(["game.name=kuhn_poker,kuhn_poker(players=3,x=[1,2])", "seed=0"])
    names = [compose_config("train", ["game=openspiel", *job])["game"]["name"] for job in jobs]
    assert names == ["kuhn_poker", "kuhn_poker(players=3,x=[1,2])"]


def test_word_of_one_piece_names_one_value():
    assert not parse_override("game.name=f(a,b)").is_sweep_override()
    assert parse_override("game.name=f(a,b),g").is_sweep_override()


def run_in(folder, *arguments, **environment):
    """Runs the command in a process of its own, with only this checkout on PYTHONPATH."""
    places = [environment.pop("PYTHONPATH", ""), str(ROOT)]
    return subprocess.run(
        [sys.executable, "-c", PROCESS, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), **environment},
        capture_output=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        timeout=300,
    )


@pytest.mark.parametrize(("place", "package"), [("", True), ("elsewhere", False)], ids=["package", "folder elsewhere"])
def test_folders_with_names_of_our_packages_do_not_interfere(tmp_path, place, package):
    for name in ("configs", "games", "solvers"):
        (tmp_path / place / name).mkdir(parents=True)
        if package:
            (tmp_path / place / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    done = run_in(tmp_path, *FORM, "run=x", PYTHONPATH=str(tmp_path / place))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "x" / "summary.json").is_file()


OWN = """
from dataclasses import dataclass
from games.normal_form import MatrixGame

@dataclass
class Mine(MatrixGame):
    size: int = 2
"""


def test_own_class_in_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "random.py").write_text("raise RuntimeError('not the library')")
    done = run_in(tmp_path, *FORM, "game._target_=mine.Mine", "game.size=3", "run=x")
    assert done.returncode == 0, done.stderr
    assert "size: 3" in (tmp_path / "runs" / "x" / "config.yaml").read_text()


def test_the_configuration_that_is_shown_is_the_one_that_is_run(tmp_path):
    """A game that names a better preset is shown with that one."""
    shown = marl_train(tmp_path, "game=openspiel", "game.name=connect_four", "--cfg", "job")
    assert (shown.code, shown.err.count("so it is played with game=connect_four")) == (0, 1)
    assert shown.out == marl_train(tmp_path, "game=connect_four", "--cfg", "job").out


@pytest.fixture
def own_presets(tmp_path):
    """A folder of user presets: a game, one that chooses its solver, and a solver with a key that its class lacks."""
    (tmp_path / "my presets" / "game").mkdir(parents=True)
    (tmp_path / "my presets" / "solver").mkdir()
    (tmp_path / "my presets" / "game" / "mine.yaml").write_text(PRESET)
    (tmp_path / "my presets" / "game" / "early.yaml").write_text("defaults: [/game/matrix, {override /solver: mmd}]\n")
    (tmp_path / "my presets" / "solver" / "typing.yaml").write_text(
        "_target_: solvers.mirror_descent.MMD\nstepsize: 1.0\n"
    )
    return tmp_path


@pytest.mark.parametrize("flags", [(), ("-m", "seed=0,1")])
def test_own_presets(own_presets, flags):
    done = marl_train(own_presets, "game=mine", "--config-dir", "my presets", "solver=normal_form", *flags)
    assert done.code == 0, done.err
    configs = [path.read_text() for path in own_presets.glob("runs/*/config.yaml")]
    assert len(configs) == (2 if flags else 1)
    assert all("name: chicken" in config for config in configs)


def refusal(monkeypatch, capsys, *arguments):
    """Returns the sentence with which the command refuses."""
    monkeypatch.setattr(sys, "argv", ["marl-train", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert (end.value.code, out, len(err.splitlines())) == (2, "", 1)
    return err


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("--config-dir", "my presets", "game=min"), "no game 'min'; choose from mine, "),
        (("--config-dir", "nowhere", "game=mine"), "--config-dir nowhere: there is no such folder"),
        (
            ("--config-dir", "my presets", "game=mine", "solver=typing", "responder=exact", "policy=table"),
            "no key solver.stepsize; choose from solver.step_size",
        ),
        (("--config-dir", "my presets", "game=early"), "cannot be composed: In 'game/early': Could not override"),
        (("game=kuhn_poker", "--multrun"), "there is no flag --multrun; choose from --multirun"),
        (("game=kuhn_poker", "--cfg", "jobs"), "invalid choice: 'jobs'"),
        (("game=kuhn_poker", "--cfg", "job", "-m"), "--multirun and --cfg do not go together"),
        (("game=kuhn_poker", "--config-name", "x"), "--config-name is not for this command"),
        (("game=kuhn_pokr", "--cfg", "job"), "no game 'kuhn_pokr'; choose from kuhn_poker, "),
    ],
)
def test_flags_that_are_refused(own_presets, monkeypatch, capsys, arguments, phrase):
    monkeypatch.chdir(own_presets)
    assert phrase in refusal(monkeypatch, capsys, *arguments)
    assert not (own_presets / "runs").exists()


def test_display_errors_do_not_end_a_run(tmp_path):
    """Characters that the terminal cannot encode, brackets, dollar signs and invalid plotting backends do no
    harm.
    """
    (tmp_path / "my [x] $a$.csv").write_text("0,1\n1,0\n")
    screen = {"MPLBACKEND": "no backend", "PYTHONIOENCODING": "latin-1"}
    done = run_in(tmp_path, *FORM, "run=[/b] $x$ [nan]", "game.payoffs=my [x] $a$.csv", **screen)
    assert (done.returncode, done.stderr) == (0, "")
    assert "MatrixGame (my [x] $a$.csv) · NormalForm" in done.stdout
    assert "resume='runs/[/b] $x$ [nan]' iterations=2" in done.stdout
    assert (tmp_path / "runs" / "[" / "b] $x$ [nan]" / "curve.png").is_file()
    plot = [sys.executable, "-c", PROCESS.replace("train", "plot"), "runs", "title=[/c] $"]
    process = subprocess.run(plot, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), **screen}, check=True)
    assert process.returncode == 0
    assert (tmp_path / "plot.png").is_file()


UNDRAWABLE = """
from dataclasses import dataclass
from games.normal_form import MatrixGame

@dataclass
class Mine(MatrixGame):
    def render(self, copy=0, caption=""):
        raise KeyError("[/no picture]")
"""


def test_a_game_that_cannot_draw_itself_ends_well(tmp_path):
    (tmp_path / "mine.py").write_text(UNDRAWABLE)
    done = run_in(tmp_path, *FORM, "game._target_=mine.Mine", "run=x")
    assert (done.returncode, done.stderr) == (0, "no replay.gif: Mine cannot be drawn: KeyError: '[/no picture]'\n")
    assert (tmp_path / "runs" / "x" / "curve.png").is_file()


def test_keys_that_only_a_preset_wrote_are_not_blamed(monkeypatch, capsys, tmp_path):
    """Overcooked's preset sets responder.shaping, which the exact responder does not have."""
    monkeypatch.chdir(tmp_path)
    sentence = refusal(monkeypatch, capsys, "game=overcooked", "responder=exact")
    assert "Overcooked is not in extensive form: ExactResponder needs " in sentence
    output = refusal(monkeypatch, capsys, "game=overcooked", "responder=exact", "responder.shaping=0")
    assert "there is no key responder.shaping" in output
    config = compose_config("train", ["game=preference/cycle", "solver=online_ipo", "policy=table", "responder=exact"])
    assert config["responder"] == {"_target_": "marl_engine.responders.ExactResponder", "divergence": "behavioral"}


@pytest.mark.parametrize(
    ("parts", "advice"),
    [
        ({"responder": {"learning_rate": 1e-3}, "solver": {}}, "try a smaller responder.learning_rate"),
        ({"responder": {}, "solver": {"step_size": 1.0}}, "try a smaller solver.step_size"),
        ({"responder": {}, "solver": {"step_size": None}}, "look at the payoffs of the game"),
    ],
)
def test_a_metric_that_is_not_finite_is_reported_with_keys_to_change(tmp_path, parts, advice):
    folder = RunFolder(tmp_path)
    folder.write_config(parts)
    with pytest.raises(Halted) as end:
        check_metrics(Progress(7, [], {"nash_conv": 0.5, "value/0": float("nan")}), folder)
    assert str(end.value) == f"value/0 is nan in iteration 7; {advice}"
    check_metrics(Progress(7, [], {"nash_conv": 0.5}), folder)


def test_mismatched_checkpoints_are_refused_in_a_sentence(tmp_path):
    """The first line of torch's message ends with a colon; the reason follows in later lines."""

    class Stale:
        folder = RunFolder(tmp_path)

        def restore(self):
            torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())

    with pytest.raises(Refused, match=r"do not fit its config\.yaml: Error\(s\) .* size mismatch for weight"):
        restore_run(Stale())


def test_version_of_this_package(tmp_path):
    done = run_in(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"marl_engine {__version__}\n")


def classes_of(group):
    """Returns the classes of a group's presets."""
    sections = [
        (OmegaConf.load(path).get(group) or OmegaConf.load(path)) for path in CONFIGS.glob(f"{group}/**/*.yaml")
    ]
    return {class_of(section["_target_"]) for section in sections if "_target_" in section}


@pytest.mark.parametrize("group", [part for part in PARTS if part != "game"])
def test_keys_of_presets_for_other_groups_exist_in_their_classes(group):
    """Otherwise a misspelt key would be dropped silently."""
    keys = {key for kind in classes_of(group) for key in signature(kind).parameters} | {"_target_"}
    for path in CONFIGS.glob("*/**/*.yaml"):
        section = OmegaConf.load(path).get(group) if not path.is_relative_to(CONFIGS / group) else None
        assert set(section or ()) <= keys, path
