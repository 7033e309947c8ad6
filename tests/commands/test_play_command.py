"""marl-play: help, refusals, and a server that ends at Ctrl-C."""

import io
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import redirect_stderr, redirect_stdout

import pytest
from command_runs import CommandResult, marl_train

from marl_engine.commands.play import main


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run of a card game, and one of a control task."""
    folder = tmp_path_factory.mktemp("home")
    assert marl_train(folder, "game=kuhn_poker", "solver=cfr_plus", "run=kuhn", "iterations=1").code == 0
    numbers = ("game.horizon=5", "responder.num_envs=2", "responder.rollout_length=5", "iterations=1", "episodes=1")
    assert marl_train(folder, "game=control", *numbers, "policy.hidden=[8]", "run=pendulum").code == 0
    return folder


def marl_play(home, *arguments):
    """Runs the command in this process and in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(home)
        patch.setattr(sys, "argv", ["marl-play", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    return CommandResult(end.value.code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say which run, one and not 0: marl-play runs/NAME"),
        (("runs/kuhn", "runs/pendulum"), "say which run, one and not 2: marl-play runs/NAME"),
        (("runs/kuhm",), "there is no run at 'runs/kuhm'"),
        (("runs/kuhm@last",), "there is no run at 'runs/kuhm'"),
        (("runs/kuhn@member_1",), "runs/kuhn has no population"),
        (("../../etc",), "there is no run at '../../etc'"),
        (("runs/kuhn", "tick=3"), "there is no key tick; choose from ticks"),
        (("runs/kuhn", "ticks=0"), "ticks must be a finite number of at least 0.1 and at most 60, not 0.0"),
        (("runs/kuhn", "port=70000"), "port must be a whole number of at least 0 and below 65536, not 70000"),
        (("runs/kuhn", "rival=other"), "rival must be one of trained, initial, not 'other'"),
        (("runs/kuhn", "host=192.0.2.1"), "host=192.0.2.1 port=0: "),
        (("runs/kuhn", "--open"), "there is no flag --open"),
        (("runs/pendulum",), "the actions of "),
    ],
)
def test_refusals(home, arguments, sentence):
    result = marl_play(home, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(sentence)
    assert result.err.count("\n") == 1
    assert not list(home.rglob("play"))


def test_help(home):
    result = marl_play(home, "--help")
    assert result.code == 0
    assert "marl-play RUN" in result.out
    assert all(f"\n  {key} " in result.out for key in ("ticks", "greedy", "rival", "seed", "host", "port"))


def test_the_extra_is_named_where_it_is_missing(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    result = marl_play(home, "runs/kuhn")
    assert (result.code, result.err) == (2, "marl-play needs a web server: pip install 'marl_engine[play]'\n")


def test_it_serves_a_page_until_it_is_interrupted(home):
    pytest.importorskip("uvicorn")

    command = [sys.executable, "-c", "from marl_engine.commands.entry import play; play()", "runs/kuhn@last"]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "runs/kuhn@last, iteration 1\n"
        address = re.fullmatch(r"open    (http://127\.0\.0\.1:\d+/)\n", server.stdout.readline())[1]
        page = urllib.request.urlopen(address).read()
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=60)
    assert b"<title>marl-play</title>" in page
    assert (server.returncode, err) == (128 + signal.SIGINT, "closed; what was played is in runs/kuhn/play\n")
