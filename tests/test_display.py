"""What a person sees while a run goes on."""

from io import StringIO

import pytest
from rich.console import Console

from marl_engine.display import Display, ahead, duration, sparkline


def test_sparkline_is_scaled_to_its_values_and_thinned_out():
    assert sparkline([0.0, 7.0, 3.5]) == "▁█▅"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([float(number) for number in range(100)], width=5) == "▁▃▅▆█"


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65.9, "1:05"), (3600, "1:00:00")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_the_nearest_limit_counts():
    """Half of the seconds are over after 10 s, and a tenth of the steps: 10 s are left, not 90."""
    record = {"steps": 100, "seconds": 10.0}
    assert ahead(record, {"steps": (0, 1000)}, 10.0) == (0.1, 90.0)
    assert ahead(record, {"steps": (0, 1000), "seconds": (0.0, 20.0)}, 10.0) == (0.5, 10.0)


def test_a_resumed_run_counts_its_own_pace():
    """50 of the 100 steps were made before: 10 s for 50 steps, so the other 100 take 20 s."""
    assert ahead({"steps": 100}, {"steps": (50, 200)}, 10.0) == (0.5, 20.0)


def test_no_limit_no_time_left():
    assert ahead({"steps": 100}, {}, 10.0) == (0.0, float("inf"))


def test_answers_show_their_win_rate_against_the_reference_once_it_is_known_and_how_far_they_went():
    display = Display(Console(file=StringIO()), {})
    record = {"win_rate/opponent": 0.51, "kl/reference": 3.14, "length": 23.7}
    assert display.scored(record) == ("wins 0.510", "▁")
    assert display.scored({**record, "evaluation/win_rate/reference": 0.6}) == ("win rate 0.600", "▁")
    assert display.scored(record) == ("win rate 0.600", "▁")
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with Display(console, {"iteration": (0, 4)}) as shown:
        shown.show({"iteration": 1, "steps": 64, "steps_per_second": 2.0, **record})
        shown.live.refresh()
    assert "wins 0.510  KL 3.1  length 24" in console.file.getvalue()


def test_a_terminal_shows_the_newest_numbers():
    console = Console(file=StringIO(), force_terminal=True, width=120)
    with Display(console, {"iteration": (0, 4)}) as display:
        display.show({"iteration": 1, "steps": 2048, "steps_per_second": 1e4, "return/mean": 12.5})
        display.live.refresh()
    said = console.file.getvalue()
    assert "2,048 steps" in said
    assert "12.5" in said
