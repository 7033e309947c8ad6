"""Invalid input is refused with one sentence that names valid choices and exit code 2, and nothing is written."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from command_runs import marl_train
from settings import preset, presets

from marl_engine.commands import plot
from marl_engine.commands.ask import ask
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.commands.train import main
from marl_engine.errors import Refused
from marl_engine.runs import load_player
from marl_engine.runs.factory import build, note_idle_workers
from marl_engine.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]
SMALL = ("iterations=1", "episodes=1", "responder.num_envs=2", "responder.rollout_length=4", "game.horizon=8")


def draw_kitchen(*rows):
    """Returns the override that draws a kitchen."""
    return 'game.layout="' + "\n".join(rows) + '"'


GROUPS = [
    ("game=overcoked", "no game 'overcoked'", "choose from overcooked"),
    ("game=preference/cycl", "no game 'preference/cycl'", "choose from preference/cycle, "),
    ("solver=selfplay", "no solver 'selfplay'", "choose from self_play"),
    ("responder=mapo", "no responder 'mapo'", "choose from mappo, "),
    ("policy=netwrk", "no policy 'netwrk'", "choose from network"),
    ("runner=locl", "no runner 'locl'", "choose from local"),
    ("responder=null", "no responder=null", "choose from answers, ascent, exact, happo, ippo"),
    ("solver=[]", "solver must be the name of a preset"),
]
KEYS = [
    ("stps=5", "no key stps", "choose from steps, "),
    ("+sed=1", "no key sed", "choose from seed, "),
    ("game.layot=x", "no key game.layot", "choose from game.layout, "),
    ("policy.hiden=[8]", "no key policy.hiden", "choose from policy.hidden, "),
    ("responder.epoch=4", "no key responder.epoch", "choose from responder.epochs, "),
    ("responder.learning_rate={begin:1}", "no key responder.learning_rate.begin", "responder.learning_rate.start"),
    ("stop.second=5", "no key stop.second", "choose from stop.seconds"),
    ("solver.rounds=1", "no key solver.rounds", "solver has no keys"),
    ("runner.workers=1", "no key runner.workers", "choose from runner.overlap"),
    ("game.layout.x=1", "no key game.layout.x", "game.layout has no keys"),
    ("+game.device=cuda", "no key game.device", "game.layout"),
    ("~seed", "cannot take away seed"),
    ("~responder", "cannot take away responder"),
]
TYPES = [
    ("responder.epochs=four", "responder.epochs='four'", "valid integer"),
    ("seed=x", "seed='x'", "valid integer"),
    ("seed=1.5", "seed=1.5", "valid integer"),
    ("game.horizon=long", "game.horizon='long'", "valid integer"),
    ("responder.value_loss=5", "responder.value_loss must be one of", "not '5'"),
    ("policy.hidden=64", "policy.hidden=64", "a list, like [64,64]"),
    ("policy.hidden=[wide]", "policy.hidden=['wide']", "valid integer"),
    ("policy.shared=perhaps", "policy.shared='perhaps'", "valid boolean"),
    ("stop.seconds=soon", "stop.seconds='soon'", "valid number"),
    ("stop=5", "stop must have the keys seconds"),
    ("policy.hidden={a:1}", "policy.hidden takes a list, not keys"),
    ("responder.learning_rate=[1]", "responder.learning_rate takes keys or a number, not a list"),
]
RANGES = [
    ("responder.discount=2", "responder.discount must be a finite number of at least 0 and at most 1, not 2"),
    ("responder.gae_lambda=-0.5", "responder.gae_lambda must be a finite number of at least 0 and at most 1, not -0.5"),
    ("responder.num_envs=0", "responder.num_envs must be a whole number of 1 or more, not 0"),
    ("responder.clip=0", "responder.clip must be a number above 0"),
    ("responder.payoff_scale=nan", "responder.payoff_scale must be a number, not nan"),
    ("responder.learning_rate=nan", "responder.learning_rate must be a number, not nan"),
    ("policy.hidden=[]", "policy.hidden must name at least one layer"),
    ("policy.hidden=[8,0]", "policy.hidden must name at least one layer, each of 1 unit or more"),
    ("stop.seconds=-1", "stop.seconds must be above 0, not -1"),
    ("stop.seconds=nan", "stop.seconds must be a number"),
    ("steps=0", "steps must be 1 or more, not 0"),
    ("iterations=0", "iterations must be 1 or more, not 0"),
    ("episodes=0", "episodes must be 1 or more, not 0"),
    ("evaluate_every=0", "evaluate_every must be 1 or more"),
    ("save_every=-3", "save_every must be 1 or more"),
    ("threads=0", "threads must be 1 or more"),
    ("game.horizon=0", "game.horizon must be from 1 to 32767"),
    ("game.horizon=32768", "game.horizon must be from 1 to 32767"),
    ("seed=-1", "seed must be from 0"),
    ("seed=99999999999999999999999", "seed must be from 0"),
]
VALUES = [
    ("responder.critic=both", "responder.critic must be one of own, joint, not 'both'"),
    ("responder.value_loss=hubert", "responder.value_loss must be one of", "huber", "not 'hubert'"),
    ("policy.activation=gelu", "policy.activation must be one of tanh, relu, not 'gelu'"),
    ("device=abc", "device must be one of cpu, cuda", "not 'abc'"),
    ("device=cuda:x", "device must be one of cpu, cuda", "not 'cuda:x'"),
    (
        "responder.learning_rate=fast",
        "responder.learning_rate must be a number, or numbers for start, end and over",
        "'fast'",
    ),
    ("responder.learning_rate={start:much}", "responder.learning_rate must be a number", "'much'"),
    ("responder.entropy_bonus=-1", "responder.entropy_bonus must be a finite number of 0 or more", "-1"),
    ("responder.entropy_bonus={over:0}", "must be a finite number above 0"),
    ("game._target_=games.chess.Chess", "_target_ 'games.chess.Chess' is not an importable class"),
    ("game._target_=null", "_target_ None is not an importable class"),
    ("solver._target_=json.dumps", "_target_ 'json.dumps' is not a class"),
    (
        "solver._target_=marl_engine.runners.LocalRunner",
        "solver._target_ 'marl_engine.runners.LocalRunner' is no solver",
    ),
    ("run=../elsewhere", "run must be the name of a folder inside runs/", "'../elsewhere'"),
    ("run=/tmp", "run must be the name of a folder inside runs/", "'/tmp'"),
]
KITCHENS = [
    ("game.layout=cramped_rom", "no layout 'cramped_rom'", "choose from cramped_room, "),
    ("game.layout=coord-ring", "no layout 'coord-ring'", "choose from coord_ring, "),
    ("game.layout=5", "no layout '5'"),
    ("game.layout=[1,2", "no layout '[1,2'"),
    ("game.layout=missing.txt", "no layout file 'missing.txt'"),
    ("game.layout=missing.yaml", "no layout file 'missing.yaml'"),
    (draw_kitchen("XXPXX", "O 1 O", "X  2X", "XDXS"), "row 4 has 4 cells and row 1 has 5"),
    (draw_kitchen("XXPXX", "O 1 O", "X  2 ", "XDXSX"), "border must be closed", "row 3, column 5"),
    (draw_kitchen("XXPXX", "O 1QO", "X  2X", "XDXSX"), "'Q' in row 2, column 4 is not one of X (counter)"),
    (draw_kitchen("XXXXX", "O 1 O", "X  2X", "XDXSX"), "there is no pot (P)"),
    (draw_kitchen("XXPXX", "O 1 O", "X  2X", "XDXXX"), "there is no serving hatch (S)"),
    (draw_kitchen("XXPXX", "X 1 X", "X  2X", "XDXSX"), "neither onions (O) nor tomatoes (T)"),
    (draw_kitchen("XXPXX", "O   O", "X   X", "XDXSX"), "cooks must be numbered 1, 2, … once each; found none"),
    (draw_kitchen("XXPXX", "O 1 O", "X  1X", "XDXSX"), "cooks must be numbered 1, 2, … once each; found 1, 1"),
    (draw_kitchen("XXPXX", "O 1 O", "X  3X", "XDXSX"), "cooks must be numbered 1, 2, … once each; found 1, 3"),
]
SYNTAX = [
    ("steps", "cannot read 'steps'", "key=value"),
    ("=5", "cannot read '=5'", "key=value"),
    ("policy.hidden=[1,2", "policy.hidden='[1,2'", "a list, like [64,64]"),
    ("seed=${nowhere}", "cannot be resolved", "nowhere"),
    ("seed=1,2", "seed=1,2 names several values", "-m"),
]


@pytest.fixture
def assert_refused(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder and checks that it refuses and writes nothing; returns its sentence."""
    monkeypatch.chdir(tmp_path)

    def contents():
        return {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}

    def run(*arguments):
        before = contents()
        monkeypatch.setattr(sys, "argv", ["marl-train", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        assert "Traceback" not in err
        assert contents() == before
        return err

    return run


@pytest.mark.parametrize(
    ("override", "phrases"),
    [(row[0], row[1:]) for row in GROUPS + KEYS + TYPES + RANGES + VALUES + KITCHENS + SYNTAX],
    ids=lambda value: value.replace("\n", "/") if isinstance(value, str) else "",
)
def test_refused(assert_refused, override, phrases):
    game = () if override.startswith("game=") else ("game=overcooked",)
    sentence = assert_refused(*game, *SMALL, override)
    for phrase in phrases:
        assert phrase in sentence


def test_no_game(assert_refused):
    assert "say which game: game= one of aloha, bargaining, " in assert_refused()


def test_orders_that_old_dynamics_cannot_cook(assert_refused):
    sentence = assert_refused("game=overcooked", *SMALL, "game.layout=bonus_order_test", "game.old_dynamics=true")
    assert "orders ot of layout 'bonus_order_test' can never be cooked; use game.old_dynamics=false" in sentence


@pytest.mark.parametrize(("here", "device"), [(0, "cuda"), (1, "cuda:1")])
def test_missing_gpu(assert_refused, monkeypatch, here, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    sentence = assert_refused("game=overcooked", *SMALL, f"device={device}")
    assert f"device={device}: torch finds {here} CUDA devices here; use device=cpu" in sentence


def test_infinity_is_written_as_in_the_presets_or_as_in_python():
    choices = [
        compose_config("train", ["game=kuhn_poker", "solver=mmd", f"solver.step_size={text}"])
        for text in (".inf", "inf")
    ]
    assert [each["solver"]["step_size"] for each in choices] == [float("inf")] * 2


@pytest.mark.parametrize(
    "override", ["seed=x,1", "seed=0,x", "game.layout=cramped_room,coord_rng", "responder=ippo,mapo"]
)
def test_sweep(assert_refused, override):
    assert override.partition("=")[0].rpartition(".")[2] in assert_refused("-m", "game=overcooked", *SMALL, override)


@pytest.mark.parametrize(
    ("overrides", "phrase"),
    [
        (
            ("game=overcooked", "solver=cfr"),
            "Overcooked is not in extensive form: TabularSpec needs ",
        ),
        (
            ("game=kuhn_poker", "policy=network", "steps=null"),
            "responder.learning_rate depends on the number of steps, which has no limit: set steps=",
        ),
        (
            ("game=kuhn_poker", "policy=table", "responder=ippo"),
            "TabularSpec makes no critics: PPO",
        ),
        (("game=kuhn_poker", "policy=network", "responder=exact"), "ExactResponder goes with policy=table, not with"),
        (
            ("game=kuhn_poker", "solver=cfr", "policy=network"),
            "CFR goes with responder=exact, not with PPO",
        ),
        (
            ("game=kuhn_poker", "solver=cfr", "responder=ippo", "policy=network", "steps=9"),
            "CFR goes with responder=exact",
        ),
        (("game=openspiel", "game.name=khun_poker"), "no game 'khun_poker'; choose from kuhn_poker, "),
        (("game=kuhn_poker", "solver=dcfr", "solver.alpha=-1"), "solver.alpha must be a finite number of 0 or more"),
        (("game=kuhn_poker", "solver=cfr", "solver.stride=0"), "solver.stride must be a whole number of 1 or more"),
        (("game=kuhn_poker", "solver=cfr", "stop.nash_conv=0"), "stop.nash_conv must be above 0"),
        (("game=overcooked", *SMALL, "stop.nash_conv=1"), "Overcooked is not in extensive form: stop.nash_conv needs "),
        (
            ("game=overcooked", *SMALL, "runner.overlap=true"),
            "runner.overlap=true needs workers that play while this process learns: choose runner=ray or processes",
        ),
        (
            ("game=overcooked", *SMALL, "runner=processes", "runner.overlap=true"),
            "runner.overlap=true needs responder.shard=GAMES, the number of games that a worker plays",
        ),
        (
            ("game=kuhn_poker", "solver=cfr", "runner=processes", "runner.overlap=true"),
            "runner.overlap=true needs a responder that learns from games played by workers, such as responder=ippo or",
        ),
        (
            ("game=kuhn_poker", "solver=cfr", "runner=processes", "runner.learners=2"),
            "runner.learners above 1 needs a responder that learns from games played by workers, such as responder=",
        ),
        (
            ("game=overcooked", *SMALL, "runner=processes", "runner.learners=0"),
            "runner.learners must be a whole number",
        ),
        *(
            (
                (
                    *("game=aloha", "solver=bayes_net", "responder=mappo", "policy=bayes_net", "steps=9"),
                    *("runner=processes", key, "responder.shard=4"),
                ),
                f"{name} needs policies that decide for single seats, such as policy=network, not BayesNetPolicy",
            )
            for key, name in (
                ("runner.overlap=true", "runner.overlap=true"),
                ("runner.learners=2", "runner.learners above 1"),
            )
        ),
    ],
)
def test_incompatible_parts(assert_refused, overrides, phrase):
    assert phrase in assert_refused(*overrides)


@pytest.mark.parametrize(("words", "notices"), [((), 1), (("responder.shard=1",), 0), (("runner=local",), 0)])
def test_workers_that_do_not_play_are_noticed(words, notices):
    """Without `responder.shard` all games are one job, which is played in the process of the run."""
    parts = build(compose_config("train", ["game=overcooked", "runner=processes", *words]))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        note_idle_workers(parts)
    assert sum("workers of the runner do not play" in str(each.message) for each in heard) == notices


def test_a_library_that_is_not_installed(monkeypatch, tmp_path):
    """It is missed when learning begins, so that runs that need it can be looked at without it."""
    monkeypatch.setitem(sys.modules, "ray.rllib.algorithms.algorithm", None)
    done = marl_train(tmp_path, "game=matrix", "solver=rllib", "run=x", "iterations=1")
    assert done.code == 2
    assert done.err.startswith(
        "responder=rllib needs RLlib: pip install 'marl_engine[rllib]', in an environment of its"
    )
    assert len(done.err.splitlines()) == 1
    assert not list((tmp_path / "runs").rglob("*.json*"))


def test_sweep_into_one_folder(assert_refused):
    assert "run=a names one folder for 2 runs" in assert_refused("-m", "game=overcooked", *SMALL, "seed=0,1", "run=a")


def test_folder_that_cannot_be_written(assert_refused, tmp_path):
    (tmp_path / "runs").write_text("a file")
    assert "runs/new: Not a directory" in assert_refused("game=overcooked", *SMALL, "run=new")


DRAWING = "drawing: |-\n  XPXXX\n  O1 2D\n  XXSXX\n"


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("drawing: [XPX, O1D, XSX]", "drawing must be text, its rows below each other after |"),
        (DRAWING + "orders: null", "orders must be a list, not None"),
        (DRAWING + "orders: []", "orders must name at least one soup"),
        (DRAWING + "recipe_times: [300]", "a soup cooks from 0 to 255 steps, not 20 to 300"),
        (DRAWING + "recipe_times: [soon]", "recipe_times must be numbers, not 'soon'"),
        (DRAWING + "onion_time: -1\ntomato_time: 1", "a soup cooks from 0 to 255 steps"),
        (DRAWING + "onion_time: true", "onion_time must be a number, not True"),
    ],
)
def test_kitchen_in_a_file(assert_refused, tmp_path, text, phrase):
    (tmp_path / "mine.yaml").write_text(text)
    assert phrase in assert_refused("game=overcooked", *SMALL, "game.layout=mine.yaml")


@pytest.fixture
def old_run(tmp_path):
    """The folder of a run without checkpoints."""
    folder = tmp_path / "runs" / "old"
    folder.mkdir(parents=True)
    RunFolder(folder).write_config(compose_config("train", ["game=overcooked", *SMALL]))
    return folder


def test_run_that_exists(assert_refused, old_run):
    sentence = assert_refused("game=overcooked", *SMALL, "run=old")
    assert "runs/old exists; choose another run=, or go on with resume=runs/old" in sentence


def test_only_runs_are_overwritten(assert_refused, tmp_path):
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    (tmp_path / "runs" / "notes" / "precious.txt").write_text("kept")
    assert "runs/notes is not the folder of a run" in assert_refused(
        "game=overcooked", *SMALL, "run=notes", "overwrite=true"
    )


def test_resume_of_no_folder(assert_refused):
    assert "no run to resume at 'runs/none'" in assert_refused("resume=runs/none")


def test_resume_lists_existing_runs(assert_refused, old_run):
    assert "no run to resume at 'old'; choose from runs/old" in assert_refused("resume=old")


@pytest.mark.parametrize(
    ("override", "phrase"),
    [
        ("iterations=many", "iterations='many': input should be a valid integer"),
        ("stps=5", "no key stps; choose from steps, "),
        ("+stps=5", "no key stps; choose from steps, "),
        ("responder.epoch=1", "no key responder.epoch; choose from responder.epochs, "),
        ("responder.num_envs=8", "responder.num_envs cannot change when a run goes on"),
        ("policy.hidden=[9]", "policy.hidden cannot change when a run goes on"),
        ("game=overcooked", "game cannot change when a run goes on"),
        ("seed=1", "seed cannot change when a run goes on"),
        ("iterations=1,2", "names several values"),
        ("responder.learning_rate=[1]", "responder.learning_rate takes keys or a number, not a list"),
        ("-m", "resume=runs/old goes on with one run; leave out -m"),
    ],
)
def test_resume(assert_refused, old_run, override, phrase):
    assert phrase in assert_refused("resume=runs/old", override)


@pytest.mark.parametrize("text", ["{", "- a list", "seed: x\ngame: {}"])
def test_resume_of_an_invalid_configuration(assert_refused, old_run, text):
    (old_run / "config.yaml").write_text(text)
    assert_refused("resume=runs/old")


OLDER = "runs/old was written by a version of marl_engine that has another layout of run folders than this one"


@pytest.mark.parametrize("first", ["", "# layout 2\n", "# layout 4\n"])
def test_a_run_folder_of_another_layout_is_refused(assert_refused, old_run, first):
    """By resume=, init=, marl-plot, marl-ask and load_player."""
    text = (old_run / "config.yaml").read_text()
    (old_run / "config.yaml").write_text(text.replace("# layout 3\n", first))
    (old_run / "metrics.jsonl").write_text('{"iteration": 1, "steps": 1, "seconds": 1.0, "return/mean": 1.0}\n')
    assert f"{OLDER} (layout 3); train anew, or use the version that wrote it" in assert_refused("resume=runs/old")
    assert OLDER in assert_refused("game=overcooked", *SMALL, "init=runs/old")
    for case in (
        lambda: plot.plot(["runs/old"]),
        lambda: ask(["runs/old", "Why?"]),
        lambda: load_player("runs/old"),
    ):
        with pytest.raises(Refused, match=OLDER):
            case()
    (old_run / "config.yaml").write_text(text)
    assert plot.plot(["runs/old"]) == 0


def in_a_process(folder, **environment):
    """Returns exit code, output and errors of a refusal in a process of its own."""
    code = "from marl_engine.commands.train import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "game=overcooked", *SMALL, "responder.epochs=four"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_refusal_of_a_process(tmp_path):
    code, out, err = in_a_process(tmp_path, HYDRA_FULL_ERROR="0")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "responder.epochs='four'" in err
    assert list(tmp_path.iterdir()) == []


def test_full_error_shows_the_traceback(tmp_path):
    code, _, err = in_a_process(tmp_path, HYDRA_FULL_ERROR="1")
    assert code == 1
    assert "Traceback" in err
    assert "responder.epochs='four'" in err.splitlines()[-1]


@pytest.mark.parametrize(
    "solver", [name for name in presets("solver") if "loss" in preset("solver", name).get("responder", {})]
)
def test_solver_keys_for_another_responder_are_dropped(solver):
    """Solvers whose presets set a loss for answers also run on tables, or are refused for another reason than
    that key.
    """
    words = ["game=preference/cycle", f"solver={solver}", "policy=table", "responder=exact"]
    composition = compose_config("train", words)
    assert "loss" not in composition["responder"]
    if composition["solver"]["_target_"] == "solvers.mirror_descent.MMD":
        components = build(composition)
        assert next(components.solver.solve(components.profile, components.responder)).iteration == 1
