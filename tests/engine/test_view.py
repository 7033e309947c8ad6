"""The progress display."""

import re
import warnings
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from math import inf
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from marl_engine.commands.command_line.environment import prepare_output
from marl_engine.commands.summary import resume_key
from marl_engine.commands.train import describe_run
from marl_engine.evaluation.exact import ExactEvaluator
from marl_engine.evaluation.returns import ReturnEvaluator
from marl_engine.evaluation.win_rate import WinRateEvaluator
from marl_engine.policies.mlp import MLPSpec
from marl_engine.spaces import ActionSpace, Spaces
from marl_engine.types import Turn
from marl_engine.view.plots import render_game, save_curve
from marl_engine.view.progress import (
    LONGEST,
    Display,
    History,
    estimate_progress,
    format_duration,
    new_console,
    sparkline,
)

ROOT = Path(__file__).parents[2]


def test_sparkline_is_scaled_to_its_values_and_thinned_out():
    assert sparkline([0.0, 7.0, 3.5]) == "▁█▅"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([float(number) for number in range(100)], width=5) == "▁▃▅▆█"


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65.9, "1:05"), (3600, "1:00:00")])
def test_duration(seconds, text):
    assert format_duration(seconds) == text


def test_the_nearest_limit_counts():
    """After 10 s half of the seconds and a tenth of the steps are done: 10 s are left, not 90."""
    record = {"steps": 100, "seconds": 10.0}
    assert estimate_progress(record, {"steps": (0, 1000)}, 10.0) == (0.1, 90.0)
    assert estimate_progress(record, {"steps": (0, 1000), "seconds": (0.0, 20.0)}, 10.0) == (0.5, 10.0)


def test_a_resumed_run_counts_its_own_pace():
    """50 of 100 steps were done before. 50 steps took 10 s, so the next 100 take 20 s."""
    assert estimate_progress({"steps": 100}, {"steps": (50, 200)}, 10.0) == (0.5, 20.0)


def test_no_limit_no_time_left():
    assert estimate_progress({"steps": 100}, {}, 10.0) == (0.0, float("inf"))


def show_score(display, record):
    """Returns the score and the trend that a display shows after a record."""
    display.note_score(record)
    return display.score_and_trend()


def test_answers_show_their_win_rate_against_the_reference_once_it_is_known_and_how_far_they_went():
    display = Display(Console(file=StringIO()), {}, WinRateEvaluator.view)
    record = {"win_rate/opponent": 0.51, "kl/reference": 3.14, "length": 23.7}
    assert show_score(display, record) == ("wins 0.510", "▁")
    assert show_score(display, {**record, "evaluation/win_rate/reference": 0.6}) == ("win rate 0.600", "▁")
    assert show_score(display, record) == ("win rate 0.600", "▁")
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with Display(console, {"iteration": (0, 4)}, WinRateEvaluator.view) as live:
        live.show({"iteration": 1, "steps": 64, "steps_per_second": 2.0, **record})
        live.live.refresh()
    assert "wins 0.510  KL 3.1  length 24" in console.file.getvalue()


def test_a_terminal_shows_the_newest_numbers():
    console = Console(file=StringIO(), force_terminal=True, width=120)
    with Display(console, {"iteration": (0, 4)}, ReturnEvaluator.view) as display:
        display.show({"iteration": 1, "steps": 2048, "steps_per_second": 1e4, "return/mean": 12.5})
        display.live.refresh()
    output = console.file.getvalue()
    assert "2,048 steps" in output
    assert "12.5" in output


def print_texts(*texts, **options):
    """Returns what the console prints of texts, with some encoding."""
    buffer = BytesIO()
    stream = TextIOWrapper(buffer, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        prepare_output()
        for text in texts:
            new_console().print(text)
        stream.flush()
    return buffer.getvalue().decode(options["encoding"])


def test_text_from_outside_is_printed_as_it_stands():
    """Rich's own console drops "[nan nan]", fails at "[/INST]", draws ":warning:" and breaks long lines."""
    text = "error 400: [/INST] [nan nan] [bold]x[/] :warning: " + "long " * 60
    assert print_texts(text, encoding="utf-8") == f"{text}\n"


def test_letters_that_an_encoding_lacks_become_question_marks():
    assert print_texts("12.5 ± 1 · ▁█", encoding="latin-1") == "12.5 ± 1 · ??\n"
    assert print_texts("12.5 ± 1 · ▁█", encoding="ascii") == "12.5 ? 1 ? ??\n"


def test_sparklines_are_left_out_where_they_cannot_be_written():
    record = {"iteration": 1, "steps": 2048, "steps_per_second": 1e4, "return/mean": 12.5}
    for encoding, trend in (("utf-8", " ▁ "), ("latin-1", "  ")):
        console = Console(file=TextIOWrapper(BytesIO(), encoding=encoding), width=200)
        with console.capture() as capture:
            display = Display(console, {}, ReturnEvaluator.view)
            display.last_line = -inf
            display.show(record)
        assert f"return 12.5{trend}" in capture.get()


def test_there_is_one_kind_of_console():
    """It does not interpret markup."""
    files = [path for package in ("marl_engine", "games", "solvers") for path in (ROOT / package).rglob("*.py")]
    makers = {path.name for path in files if re.search(r"\bConsole\(", path.read_text())}
    assert makers == {"progress.py", "load.py"}  # the second prints a Text


CONFIG = {
    "solver": {"_target_": "solvers.normal_form.NormalForm"},
    "responder": {"_target_": "marl_engine.responders.ExactResponder"},
    "seed": 0,
    "threads": 1,
}


@pytest.mark.parametrize(
    ("game", "name"),
    [
        (
            {"_target_": "games.normal_form.MatrixGame", "name": "rock_paper_scissors", "payoffs": None},
            "rock_paper_scissors",
        ),
        (
            {"_target_": "games.normal_form.MatrixGame", "name": "rock_paper_scissors", "payoffs": "my [x].csv"},
            "my [x].csv",
        ),
        (
            {"_target_": "games.normal_form.MatrixGame", "name": "chicken", "payoffs": ["a.csv", "b.csv"]},
            "a.csv, b.csv",
        ),
        ({"_target_": "games.overcooked.Overcooked", "layout": "kitchens/[a].txt"}, "kitchens/[a].txt"),
        ({"_target_": "games.normal_form.RandomGame", "family": "zero_sum", "draw": 0}, "zero_sum"),
        ({"_target_": "games.preference.PromptGame", "prompts": "mine.jsonl"}, "mine.jsonl"),
    ],
)
def test_the_header_names_what_the_user_named(game, name):
    assert f" ({name}) · NormalForm · ExactResponder · seed 0" in describe_run({**CONFIG, "game": game})


@dataclass
class Drawn:
    """A game of one player with continuous actions, done after three turns, that draws its actions."""

    dimensions: int
    players = 1
    observation_shape = (2,)
    symmetric = True

    def __post_init__(self):
        self.actions = self.dimensions
        bound = torch.ones(self.dimensions)
        self.spaces = Spaces((2,), ActionSpace(self.dimensions, -bound, bound))
        self.shapes = []

    def reset(self, seeds):
        self.clock, self.shapes = 0, [len(seeds)]
        return self.turn()

    def step(self, actions):
        self.clock += 1
        self.shapes.append(tuple(actions.shape))
        return self.turn()

    def turn(self):
        zeros, over = torch.zeros(1, 1), torch.tensor([self.clock == 3])
        legal = torch.ones(1, 1, self.dimensions, dtype=torch.bool)
        return Turn(torch.zeros(1, 1, 2), legal, zeros == 0, zeros, zeros, over, ~over & over, torch.zeros(1, 1, 2))

    def render(self, copy=0, caption=""):
        return self.shapes[-1]


@pytest.mark.parametrize("dimensions", [1, 3])
def test_frames_of_a_continuous_game_hand_over_actions_of_its_shape(dimensions):
    """(B, P, D) = (1, 1, D) in each turn but the first, which has none."""
    game = Drawn(dimensions)
    profile = MLPSpec(hidden=[4]).profile(game)
    assert render_game(game, profile) == [1, (1, 1, dimensions), (1, 1, dimensions)]


@pytest.mark.parametrize(("steps", "distance"), [(0, 1e-17), (1, 0.0)])
def test_a_curve_without_a_point_that_has_logarithms_is_drawn_without_a_warning(tmp_path, steps, distance):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_curve(
            [{"steps": steps, "nash_conv/last": distance}], tmp_path / "curve.png", "$ [/x]", ExactEvaluator.view.panels
        )
    assert (tmp_path / "curve.png").stat().st_size > 0


def test_a_long_history_keeps_evenly_spaced_values_and_the_last():
    history = History()
    for number in range(100_000):
        history.add(float(number))
        assert history.last == number
    assert len(history.values) <= LONGEST + 1
    assert history.values[-1] == 99_999
    assert set(np.diff(history.values[:-1])) == {float(history.stride)}
    assert sparkline(history.values) == sparkline([float(number) for number in range(100_000)])


@pytest.mark.parametrize(
    ("reason", "seconds", "distance", "key"),
    [
        ("seconds", 0.1, 1.0, " stop.seconds=1"),
        ("seconds", 40.0, 1.0, " stop.seconds=80"),
        ("nash_conv", 1.0, 0.03, " stop.nash_conv=0.003"),
        ("nash_conv", 1.0, 0.0, ""),
        ("interrupted", 1.0, 1.0, ""),
    ],
)
def test_the_key_with_which_a_run_goes_on_is_valid(reason, seconds, distance, key):
    run = SimpleNamespace(limited_work=5, iteration=2, nash_conv=distance)
    assert resume_key(run, reason, seconds) == key
