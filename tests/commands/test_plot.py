"""marl-plot draws logged values, labels runs by their differences, and refuses with one sentence."""

import json
import sys
from pathlib import Path

import pytest

from marl_engine.commands import plot, train
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.commands.curves.curves import RunRecords, build_curves, default_axis
from marl_engine.commands.curves.labels import labels
from marl_engine.runs.folder import RunFolder
from marl_engine.view import plots
from marl_engine.view.plots import new_figure


def write_run(folder, values, overrides=("game=kuhn_poker", "solver=cfr"), y="nash_conv", seed=0, extra=""):
    """Writes the folder of a run with given values, one for each iteration of 10 steps and 0.25 seconds."""
    folder.mkdir(parents=True)
    config = compose_config("train", [*overrides, f"seed={seed}", f"run={folder.name}"])
    RunFolder(folder).write_config(config)
    rows = [
        {"iteration": number, "steps": 10 * number, "seconds": number / 4, y: value}
        for number, value in enumerate(values, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + extra)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.fixture
def command(home, monkeypatch, capsys):
    """Runs a command; returns its exit code, output and errors."""

    def run(*arguments, main=plot.main):
        monkeypatch.setattr(sys, "argv", ["marl-plot", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def table(command):
    """Returns the rows that the command prints: (label, last, best, where)."""

    def run(*arguments, picture="plot.png"):
        code, out, err = command(*arguments)
        assert (code, err) == (0, "")
        _, *rows, last = out.splitlines()
        assert last == f"picture {picture}"
        return [tuple(part.strip() for part in row.rsplit(maxsplit=3)) for row in rows]

    return run


def test_numbers_are_those_logged(home, table):
    """Of seven values the fifth is the lowest. A truncated line is ignored."""
    write_run(home / "runs/a", [0.9, 0.5, 0.25, 0.125, 0.0625, 0.5, 0.375], extra='{"iteration": 8, "nash_c')
    assert table("runs/a") == [("a", "0.375", "0.0625", "5")]
    assert table("runs/a", "x=seconds") == [("a", "0.375", "0.0625", "1.25")]
    assert table("runs/a", "x=steps") == [("a", "0.375", "0.0625", "50")]


def test_of_returns_the_highest_is_the_best(home, table):
    write_run(home / "runs/a", [-1, 3, 2], y="return/mean")
    assert table("runs/a") == [("a", "2", "3", "20")]


def test_curves_equal_the_logged_records(home, command, monkeypatch):
    """Distances have logarithmic axes, returns linear ones, and each line has the logged points."""
    write_run(home / "runs/a", [4, 2, 1])
    write_run(home / "runs/b", [3, 2, 2], ["game=kuhn_poker", "solver=cfr_plus"])
    write_run(home / "runs/c", [7, 8, 9], y="return/mean")
    figures = []
    monkeypatch.setattr(plots, "new_figure", lambda *size: figures.append(new_figure(*size)) or figures[-1])
    for runs, scale, lines in (
        (("runs/a", "runs/b"), "log", {"solver=cfr": [4, 2, 1], "solver=cfr_plus": [3, 2, 2]}),
        (("runs/c",), "linear", {"c": [7, 8, 9]}),
    ):
        command(*runs, "title=Mine")
        (axes,) = figures.pop().axes
        assert {line.get_label(): line.get_ydata().tolist() for line in axes.lines} == lines
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_title()) == (scale, scale, "Mine")


def test_seeds_are_one_curve_with_a_band(home, table):
    """At iterations that all three runs have: medians of (5, 3, 4) and (1, 2, 9)."""
    for seed, values in enumerate([[5, 1], [3, 2, 0], [4, 9, 0]]):
        write_run(home / f"runs/{seed}", values, seed=seed)
    write_run(home / "runs/other", [6, 6], ["game=kuhn_poker", "solver=dcfr"])
    assert table("runs") == [("solver=cfr (3 seeds)", "2", "2", "2"), ("solver=dcfr", "6", "6", "1")]
    runs = [plot.read_run(path) for path in plot.runs_in(home / "runs")]
    curve, other = build_curves(runs, "iteration", "nash_conv")
    assert [each.tolist() for each in curve[1:]] == [[1, 2], [4, 2], [3, 1], [5, 9]]
    assert other.low.tolist() == other.middle.tolist() == other.high.tolist() == [6, 6]


CONFIGURATIONS = [
    ([["game=kuhn_poker", "solver=cfr"], ["game=kuhn_poker", "solver=cfr_plus"]], ["solver=cfr", "solver=cfr_plus"]),
    ([["game=kuhn_poker", f"solver={name}"] for name in ("mmd", "nash_md")], ["solver=mmd", "solver=nash_md"]),
    ([["game=kuhn_poker"], ["game=leduc_poker"]], ["game=kuhn_poker", "game=leduc_poker"]),
    (
        [["game=kuhn_poker", "solver=mmd", f"solver.magnet_weight={weight}"] for weight in (0.1, 0.5)],
        ["magnet_weight=0.1", "magnet_weight=0.5"],
    ),
    (
        [
            ["game=kuhn_poker", "solver=cfr"],
            *(["game=kuhn_poker", "solver=mmd", f"solver.magnet_weight={weight}"] for weight in (0.2, 0.5)),
        ],
        ["solver=cfr", "solver=MMD, magnet_weight=0.2", "solver=MMD, magnet_weight=0.5"],
    ),
    ([["game=overcooked", f"responder={name}"] for name in ("ippo", "mappo")], ["critic=own", "critic=joint"]),
    ([["game=overcooked", f"policy.hidden=[{size}]"] for size in (8, 16)], ["hidden=[8]", "hidden=[16]"]),
    ([["game=overcooked", f"steps={count}"] for count in (1000, 2000)], ["steps=1000", "steps=2000"]),
    ([["game=overcooked", f"game.layout={name * 50}"] for name in "ab"], None),
    ([["game=overcooked", "run=a"], ["game=overcooked", "run=b"]], None),
]


@pytest.mark.parametrize(("overrides", "expected"), CONFIGURATIONS, ids=lambda each: str(each)[:40])
def test_labels_say_what_differs(overrides, expected):
    assert labels([compose_config("train", each) for each in overrides]) == expected


def test_runs_that_differ_in_nothing_go_by_their_folders(home, table):
    for name in ("a", "b", "deep/a"):
        write_run(home / "runs" / name, [1.0])
    assert [row[0] for row in table("runs/a", "runs/b")] == ["a", "b"]
    assert [row[0] for row in table("runs")] == ["runs/a", "runs/b", "runs/deep/a"]
    assert [row[0] for row in table("runs/a", "runs/a", "runs/../runs/a")] == ["a"]


def test_the_first_metric_that_all_have_is_drawn(home, command):
    write_run(home / "runs/a", [1.0], y="gap")
    write_run(home / "runs/b", [1.0], ["game=kuhn_poker", "solver=mmd"], y="nash_conv")
    for folder, metric in ((home / "runs/a", "return/mean"), (home / "runs/b", "return/mean")):
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"iteration": 2, "steps": 2, "seconds": 1.0, metric: 0.5}) + "\n")
    assert "last return/mean" in command("runs")[1]
    assert "last gap" in command("runs/a")[1]


def test_work_is_drawn_in_the_units_that_were_counted():
    records = [{"iteration": 1, "steps": 3, "queries": 40, "gap": 1.0}]
    for unit, work in (("queries", 40), ("steps", 3)):
        assert build_curves([RunRecords(Path("a"), {}, records)], unit, "gap")[0].x.tolist() == [work]
    with pytest.raises(ValueError, match="a counts no nodes; choose x= from iteration, queries"):
        build_curves([RunRecords(Path("a"), {}, records)], "nodes", "gap")


def test_returns_of_runs_without_steps_are_drawn_over_iterations():
    """CFR counts queries; its evaluation measures returns."""
    solved = RunRecords(Path("a"), {}, [{"iteration": 1, "queries": 2, "evaluation/return/mean": 0.0}])
    learned = RunRecords(Path("b"), {}, [{"iteration": 1, "steps": 64, "evaluation/return/mean": 0.0}])
    for runs, axis in (([learned], "steps"), ([solved], "iteration"), ([learned, solved], "iteration")):
        assert default_axis(runs, "evaluation/return/mean") == axis
    assert default_axis([learned], "nash_conv") == "iteration"


REFUSALS = [
    (("runs/gone",), "there is no run at 'runs/gone'; choose from runs/good, runs/other"),
    ((), "say which runs: their folders, or one that holds some; choose from runs/good, "),
    (("notes",), "there is no run at 'notes'; choose from runs/"),
    (("runs/empty",), "runs/empty has measured nothing yet"),
    (("runs/broken",), "runs/broken/config.yaml cannot be read"),
    (("runs/good", "y=nash_cnv"), "runs/good has no y=nash_cnv; choose y= from nash_conv"),
    (("runs/good", "runs/other", "y=nash_conv"), "runs/other has no y=nash_conv; plot fewer of them"),
    (("runs/good", "runs/other"), "no distance from equilibrium and no return was measured by all of these runs"),
    (("runs/good", "x=step"), "there is no x=step; choose from steps, "),
    (("runs/good", "z=1"), "there is no key z; choose from out, title, x, y"),
    (("runs/good", "titel=1"), "there is no key titel; choose from title, "),
    (("runs/good", "out=a.bmp"), "out must be the name of a picture that ends in .png, .pdf, .svg, not 'a.bmp'"),
    (("runs/good", "out=no/a.png"), "cannot write to no/a.png: there is no folder 'no'"),
    (("runs/good", "--verbose"), "there is no flag --verbose"),
]


@pytest.mark.parametrize(
    ("arguments", "phrase"), REFUSALS, ids=lambda each: "" if isinstance(each, str) else " ".join(each)
)
def test_refused(home, command, arguments, phrase):
    write_run(home / "runs/good", [1.0])
    write_run(home / "runs/other", [1.0], ["game=kuhn_poker", "solver=dcfr"], y="entropy")
    write_run(home / "runs/empty", [], extra='{"iter')
    write_run(home / "runs/broken", [1.0])
    (home / "runs/broken/config.yaml").write_text("{")
    (home / "notes").mkdir()
    before = sorted(home.rglob("*"))
    code, out, err = command(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert phrase in err
    assert sorted(home.rglob("*")) == before


def test_help_is_short_and_has_examples(command):
    code, out, _ = command("--help")
    assert code == 0
    assert "marl-plot runs/cfr runs/cfr_plus" in out
    assert len(out.splitlines()) < 30


def test_runs_of_marl_train(home, command, table):
    """After 50 iterations on Kuhn poker the last NashConv equals that in the summary."""
    for solver in ("cfr", "cfr_plus"):
        arguments = ["game=kuhn_poker", f"solver={solver}", "iterations=50", f"run={solver}"]
        assert command(*arguments, main=train.main)[0] == 0
    rows = table("runs", "out=kuhn.png", picture="kuhn.png")
    assert [row[0] for row in rows] == ["solver=cfr", "solver=cfr_plus"]
    for row, solver in zip(rows, ("cfr", "cfr_plus"), strict=True):
        summary = json.loads((home / "runs" / solver / "summary.json").read_text())
        assert float(row[1]) == pytest.approx(summary["nash_conv"], rel=1e-5)
    assert (home / "kuhn.png").read_bytes().startswith(b"\x89PNG")
