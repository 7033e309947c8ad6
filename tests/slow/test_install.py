"""The package as users install it: a wheel with all presets and layouts, used from another folder."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("install")  # one worker, since all tests share one installation
ROOT = Path(__file__).parents[2]
SOURCES = ("marl_engine", "games", "solvers", "configs")
FILES = ("pyproject.toml", "setup.cfg", "README.md")
SMALL = (
    "responder.num_envs=4",
    "responder.rollout_length=8",
    "policy.hidden=[8]",
    "game.horizon=12",
    "episodes=2",
    "threads=1",
)


def done(command, folder, **environment):
    """Returns what a command prints, and checks that it succeeds."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the checkout."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    if importlib.util.find_spec("setuptools"):
        options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out)
        done([sys.executable, "-m", "pip", "wheel", *options, copy], copy)
    else:
        done([sys.executable, "-m", "build", "--wheel", "--outdir", out, copy], copy)
    (path,) = out.glob("marl_engine-*.whl")
    return path


@pytest.fixture(scope="module")
def installation(wheel, tmp_path_factory):
    """A new environment with the wheel and its dependencies."""
    target = tmp_path_factory.mktemp("installed")
    done([sys.executable, "-m", "venv", target], target)
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--constraint", ROOT / "constraints.txt")
    done([target / "bin" / "python", "-m", "pip", "install", *options, wheel], target, PYTHONPATH="")
    return target


@pytest.fixture
def marl_train(installation, tmp_path):
    """Runs the console script from a folder outside the checkout."""
    return lambda *arguments: done([installation / "bin" / "marl-train", *arguments], tmp_path, PYTHONPATH="")


def test_wheel_holds_every_file_of_the_sources(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = {
        str(path.relative_to(ROOT))
        for source in SOURCES
        for path in (ROOT / source).rglob("*")
        if path.suffix in (".py", ".yaml", ".txt") and "__pycache__" not in path.parts
    }
    assert {"configs/train.yaml", "configs/responder/ippo.yaml", "configs/game/overcooked.yaml"} <= files
    assert {"games/overcooked/layouts.yaml", "solvers/self_play.py", "marl_engine/commands/train.py"} <= files
    assert files - packed == set()


def test_wheel_holds_nothing_else(wheel):
    packed = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in packed if not name.endswith(".dist-info")} == set(SOURCES)


def test_the_installed_copy_is_imported(installation, tmp_path):
    code = (
        "import configs, games.overcooked.layouts as layouts, marl_engine.responders.ppo, solvers.self_play as solver\n"
        "print(configs.__file__, layouts.__file__, marl_engine.responders.ppo.__file__, solver.__file__, sep='\\n')\n"
        "print(len(layouts.names()))"
    )
    *places, layouts = done([installation / "bin" / "python", "-c", code], tmp_path, PYTHONPATH="").splitlines()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(installation) for place in places)
    assert int(layouts) > 20


def test_help(marl_train, tmp_path):
    output = marl_train("--help")
    for phrase in (
        "marl-train game=overcooked",
        "game.layout=coord_ring",
        "resume=runs/NAME",
        "-m seed=0,1,2",
        "openspiel, openspiel_states, oshi_zumo, overcooked",
        "responder: answers, ascent, exact, happo, ippo, mappo, mdpo, off_policy, qmix, rllib, vdn",
        "policy: bayes_net, board, cnn, gru, language",
        "preference: conflict, control, cycle",
        "pdcfr_plus, pipeline_psro, psro, r_nad, reservoir_average, reward_model, rllib",
        "nash_ema, nash_md, nash_prox",
        "overwrite=true",
        "Exit codes: 0 done, 1 failed, 2 refused, 130, 143 or 129 stopped by SIGINT, SIGTERM or SIGHUP",
        "learning_rate:",
        "layout: cramped_room",
    ):
        assert phrase in output
    assert list(tmp_path.iterdir()) == []


def test_help_that_is_read_in_part_ends_without_a_traceback(installation, tmp_path):
    command = [installation / "bin" / "marl-train", "--help"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()  # as `| head` does, when it has its lines
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_short_training(marl_train, tmp_path):
    output = marl_train("game=overcooked", "game.layout=coord_ring", "run=first", "stop.seconds=10", *SMALL)
    folder = tmp_path / "runs" / "first"
    assert "Overcooked (coord_ring)" in output
    summary = json.loads((folder / "summary.json").read_text())
    twice = f"stop.seconds={2 * summary['seconds']:.0f}"  # the first iteration compiles, and may take longer than 10 s
    assert f"marl-train resume={folder.relative_to(tmp_path)} {twice}" in output
    assert summary["exit"] == "seconds"
    assert summary["iterations"] >= 1
    assert summary["versions"]["marl_engine"] != "not installed"
    assert (folder / "replay.gif").stat().st_size > 0
    again = marl_train("resume=runs/first", f"iterations={summary['iterations'] + 2}", "stop.seconds=null")
    assert "ended by iterations" in again
