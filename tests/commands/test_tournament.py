"""marl-tournament: entrants from words, files and report, refusals, interruption and resumption."""

import csv
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from command_runs import marl_train
from result_tables import expectations

from marl_engine.commands import tournament as command_module
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.interruption import INTERRUPTION, Interrupted
from marl_engine.ratings import Ranking, Rating, find_cycles, rank
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.play_records import GameRecord, append_record, find_games
from marl_engine.tournaments import Tournament
from marl_engine.view.report import rating_cells, write_report

KUHN = ("game=kuhn_poker", "policy=table", "seed=0", "iterations=4", "save_every=2", "evaluate_every=100")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs of CFR, and of PSRO with its population."""
    home = tmp_path_factory.mktemp("tournament")
    assert marl_train(home, *KUHN, "solver=cfr", "run=cfr").code == 0
    assert marl_train(home, *KUHN, "solver=psro", "run=psro").code == 0
    RunFolder(home / "runs/matrix").write_config(compose_config("train", ["game=matrix"]))
    return home


@pytest.fixture
def command(runs, monkeypatch, capsys):
    """Runs the command in the folder of the runs; returns exit code, output and errors."""
    monkeypatch.chdir(runs)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["marl-tournament", *arguments])
        with pytest.raises(SystemExit) as end:
            command_module.main()
        return end.value.code, *capsys.readouterr()

    return run


def summary(runs, name):
    """Returns what a tournament wrote into tournament.json."""
    return json.loads((runs / "runs" / name / "tournament.json").read_text())


def test_runs_populations_and_baselines_play_each_other(runs, command):
    words = ("runs/cfr", "runs/cfr@2", "runs/psro@population", "runs/psro@member_1", "random")
    code, out, err = command(*words, "games=20", "run=cup")
    assert (code, err) == (0, "")
    report = summary(runs, "cup")
    names = {each["name"] for each in report["entrants"]}
    assert {"cfr", "cfr@2", "psro@member_0", "psro@member_1", "random"} <= names
    count = len(names)
    assert report["games"] == 20 * count * (count - 1) // 2
    assert f"{count} entrants, OpenSpiel (kuhn_poker), in runs/cup" in out
    assert out.rstrip().endswith("report runs/cup/report.html")
    with open(runs / "runs/cup/ratings.csv") as file:
        assert [row["entrant"] for row in csv.DictReader(file)] == [each["name"] for each in report["entrants"]]
    with open(runs / "runs/cup/matches.csv") as file:
        assert sum(int(row["games"]) for row in csv.DictReader(file)) == 2 * report["games"]


def test_exact_results_know_who_is_best(runs, command):
    """The first member of PSRO is uniform, so it has the same payoffs as `random`, against whom all are the same."""
    assert command("runs/cfr", "runs/psro@population", "random", "exact=true", "run=exact")[0] == 0
    report = summary(runs, "exact")
    place = {each["name"]: number for number, each in enumerate(report["entrants"])}
    payoff = np.array(report["tables"]["payoff"], float)
    np.testing.assert_allclose(payoff + payoff.T, 0, atol=1e-9)
    np.testing.assert_allclose(payoff[place["random"]], payoff[place["psro@member_0"]], atol=1e-9)
    assert payoff[place["cfr"], place["random"]] > 0.05
    assert report["games"] == 0


def test_the_same_command_goes_on_after_a_signal(runs, command, monkeypatch):
    """The first time a signal comes after two writes; the second time the same command plays the rest."""
    words = ("runs/cfr", "runs/psro@population", "random", "games=400")
    command(*words, "run=whole")
    play = Tournament.play

    def interrupted(self):
        for number, progress in enumerate(play(self)):
            yield progress
            if number == 2:
                INTERRUPTION.signals.append(2)
                raise Interrupted

    monkeypatch.setattr(Tournament, "play", interrupted)
    code, out, _ = command(*words, "run=part")
    assert code == 130
    assert "the same command goes on" in out
    assert 0 < summary(runs, "part")["games"] < summary(runs, "whole")["games"]
    monkeypatch.setattr(Tournament, "play", play)
    assert command(*words, "run=part")[0] == 0
    assert summary(runs, "part") == summary(runs, "whole")


def test_a_free_for_all_is_rated_and_reported(runs, command):
    code, _, err = command("random", f"{__name__}:first", f"{__name__}:last", *THREE, *FREE)
    assert (code, err) == (0, "")
    report = summary(runs, "free")
    assert report["games"] == 10 * 18  # one line-up of three, nine with copies; three deals of six seatings each
    assert np.array(report["tables"]["games"]).tolist() == [
        [18 * (i != j) + 18 * (i == j) for j in range(3)] for i in range(3)
    ]
    assert sum(report["ratings"]["alpha_rank"]["value"]) == pytest.approx(1)
    with open(runs / "runs/free/lineups.csv") as file:
        assert len(list(csv.DictReader(file))) == 3 * 10
    text = (runs / "runs/free/report.html").read_text()
    assert "Mean payoff of the row in games with the column" in text
    assert "earned more in" in text


@pytest.fixture(scope="module")
def played(runs):
    """Ann has won 2, lost 1 and lost 1 against the last checkpoint of cfr; other games do not count."""
    game, file = RunFolder(runs / "runs/cfr").config()["game"], find_games(runs / "runs/cfr")
    for payoff, seat, name, iteration, greedy, run in [
        (2.0, 0, "Ann", 4, False, "runs/cfr"),
        (-1.0, 1, "Ann", 4, False, "runs/cfr"),
        (-1.0, 1, "Ann", 4, False, "runs/cfr@last"),
        (1.0, 0, "Ann", 2, False, "runs/cfr"),
        (1.0, 0, "Ann", 4, True, "runs/cfr"),
        (1.0, 0, "Ann", 4, False, "runs/cfr@member_3"),
        (1.0, 0, "Bob", 4, False, "runs/cfr"),
    ]:
        players, payoffs = [run, run], [-payoff, -payoff]
        players[seat], payoffs[seat] = f"human:{name}", payoff
        append_record(file, GameRecord(players, payoffs, 0, [[0, 0]], greedy, iteration, game, "2026-01-01T00:00:00"))


def test_people_enter_with_the_games_that_they_have_played(runs, command, played):
    for _ in range(2):  # the second time, games that were counted are not counted again
        assert command("human:Ann", "runs/cfr@last", "random", "games=20", "run=people")[0] == 0
    report = summary(runs, "people")
    ann, cfr, random = (
        [each["name"] for each in report["entrants"]].index(name) for name in ("human:Ann", "cfr@last", "random")
    )
    tables = {name: np.array(table, float) for name, table in report["tables"].items()}
    assert tables["payoff"][ann, cfr] == pytest.approx(0.0)
    assert tables["payoff"][cfr, ann] == pytest.approx(0.0)
    assert (tables["games"][ann, cfr], tables["wins"][ann, cfr], tables["wins"][cfr, ann]) == (3, 1, 2)
    assert (tables["games"][ann, random], tables["games"][cfr, random]) == (0, 20)


def test_people_who_have_not_played_are_refused(command, played):
    code, _, err = command("human:Eve", "runs/cfr@last", "random")
    assert code == 2
    assert "human:Eve has played no games with the runs that enter" in err
    assert "Their records have human:Ann, human:Bob" in err
    code, _, err = command("human:Ann", "runs/cfr@last", "random", "schedule=swiss")
    assert code == 2
    assert "people play no new games" in err


THREE = ("game=openspiel", "game.name=kuhn_poker(players=3)")
FREE = ("schedule=free_for_all", "games=16", "run=free")


def first(observation, legal, seat, noise):
    """Takes the first legal action."""
    return legal.argmax(1)


def last(observation, legal, seat, noise):
    """Takes the last legal action."""
    return legal.shape[1] - 1 - legal[:, ::-1].argmax(1)


REFUSALS = [
    ((), "say who plays, like marl-tournament runs/a runs/b random"),
    (("runs/cfr",), "a tournament has two entrants or more, not 1"),
    (("random", "greedy"), "say which game, like game=kuhn_poker, or name a run"),
    (("runs/cfr", "runs/matrix"), "all entrants must play one game, but runs/matrix has game."),
    (
        ("runs/cfr", "random", "game=leduc_poker"),
        "all entrants must play one game, but runs/cfr has game.name=kuhn_poker",
    ),
    (("runs/cfr", "randon"), "there is no entrant 'randon'; choose from random"),
    (("runs/cfr", "runs/cfr@7"), "has no checkpoint=7; choose from"),
    (("runs/cfr", "runs/cfr@population"), "runs/cfr has no population"),
    (("runs/cfr", "runs/psro@member_99"), "runs/psro has no member_99; choose from member_"),
    (("runs/cfr", "nowhere:act"), "nowhere:act is not an importable function"),
    (("runs/cfr", "random", "games=0"), "games must be a whole number of 1 or more, not 0"),
    (("runs/cfr", "random", "game_s=1"), "there is no key game_s; choose from games"),
    (("runs/cfr", "random", "schedule=robin"), "schedule must be one of round_robin, field, swiss, free_for_all"),
    (("runs/cfr", "random", "schedule=free_for_all"), "is for games with more than two seats, unlike OpenSpiel"),
    (("runs/cfr", "random", "rounds=3"), "rounds= is for schedule=swiss"),
    (("runs/cfr", "random", "confidence=2"), "confidence must be"),
    (("runs/cfr", "random", "confidence=0.9", "exact=true"), "confidence= does not go with exact=true"),
    (("runs/cfr", "builtins:len", "exact=true"), "exact=true needs entrants that are strategies, unlike builtins:len"),
    (("runs/cfr", "builtins:len"), "builtins:len failed: TypeError"),
    (("runs/cfr", "random", "run=../out"), "run must be the name of a folder inside runs/"),
    (("runs/cfr", "random", "run=cfr"), "runs/cfr is not the folder of a tournament"),
    (("random", "greedy", "game=overcooked", "game.layout=nowhere"), "nowhere"),
    (
        ("random", "greedy", "game=preference/sentiment"),
        "there is no entrant 'random'; in a game of answers choose from reference",
    ),
    (("reference", "runs/cfr"), "there is no entrant 'reference'; choose from"),
    (("random", "greedy", "game=control"), "has one seat, so nobody meets anybody"),
    (("runs/cfr", "--loud"), "there is no flag --loud"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSALS, ids=[" ".join(words) for words, _ in REFUSALS])
def test_one_sentence_says_what_is_wrong(command, words, sentence):
    code, _, err = command(*words)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1


def test_a_folder_keeps_its_game_and_seed(command):
    assert command("rock", "paper", "game=matrix", "games=2", "run=kept")[0] == 0
    code, _, err = command("rock", "paper", "game=matrix", "games=2", "run=kept", "seed=1")
    assert (code, "were played with seed=0, not 1; choose another run=" in err) == (2, True)


def test_help(command):
    code, out, _ = command("--help")
    assert code == 0
    assert out.startswith("marl-tournament: plays entrants against each other")


class Page(HTMLParser):
    """Counts the tags of a page, and collects its texts and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.links, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def write_page(tmp_path, payoff, names):
    """Writes a report of exact results; returns its text."""
    write_report(tmp_path / "report.html", "Tournament", rank(expectations(payoff, names)), [("game", "toy")])
    return (tmp_path / "report.html").read_text()


def test_the_report_is_one_file_that_says_what_its_numbers_mean(tmp_path):
    payoff = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    text = write_page(tmp_path, payoff, ["rock", "paper", "scissors"])
    page = Page(text)
    assert page.links == ["data:,"]
    assert "http" not in text.replace("http-equiv", "")
    assert page.tags.count("tr") == 2 * 4
    assert page.tags.count("h2") == 4
    assert "no single rating can describe these results" in text
    assert "rock beats scissors, scissors beats paper, and paper beats rock" in text
    for heading in ("Ratings, with 95% intervals", "Mean payoff of the row against the column", "Elo", "Nash weight"):
        assert heading in page.texts
    assert text.count("<line") == 3


def test_names_are_text_in_the_report(tmp_path):
    names = ["<script>alert(1)</script>", "</script><b>", '" onload="x']
    page = Page(write_page(tmp_path, np.subtract.outer([2.0, 1, 0], [2, 1, 0]), names))
    assert page.tags.count("script") == 2
    assert set(names) <= set(page.texts)


def test_two_hundred_entrants_fit_in_a_megabyte(tmp_path):
    payoff, *numbers = np.random.default_rng(0).normal(size=(4, 200, 200))
    results = expectations(payoff - payoff.T, [f"run_with_a_long_name_{number}" for number in range(200)])
    ratings = tuple(Rating(str(place), "Elo", "", *(each[place] for each in numbers)) for place in range(7))
    ranking = Ranking(results._replace(stderr=abs(payoff)), ratings, tuple(range(200)), find_cycles(results))
    write_report(tmp_path / "report.html", "Tournament", ranking, [])
    text = (tmp_path / "report.html").read_text()
    assert len(text.encode()) < 1_000_000
    assert Page(text).tags.count("canvas") == 1


def test_ratings_that_differ_by_rounding_are_drawn_at_one_place():
    value = np.array([1.0, 1.0 + 1e-15])
    cells = rating_cells(Rating("x", "x", "x", value, value, value), [0, 1])
    assert [cell.at for cell in cells] == [0.0, 0.0]
