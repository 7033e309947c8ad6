"""The report of a tournament in headless Chromium: it renders, sorts and answers the pointer, in light and in dark."""

import shutil

import numpy as np
import pytest

from marl_engine.ratings import rank
from marl_engine.ratings.results import Tally, tabulate
from marl_engine.tournaments import MatchStore, Tournament, enter
from marl_engine.view.replays import MOST_BYTES, draw_replays
from marl_engine.view.report import write_report

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; make browser-test installs it"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; make browser-test installs it")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]


def ranking_of(payoff, names):
    """Returns the ranking of exact payoffs (N, N)."""
    ones = np.ones_like(payoff)
    tally = Tally(ones, ones, (payoff > payoff.T) * 1.0, (payoff == payoff.T) * 1.0, payoff, payoff.T, *[payoff**2] * 3)
    return rank(tabulate(names, np.stack(tally, -1), exact=True))


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(params=["light", "dark"])
def show(request, browser, tmp_path):
    """Opens the report of payoffs in a new page; errors on its console fail the test."""
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1200, "height": 900})
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def open_report(payoff, names, replays=()):
        write_report(tmp_path / "report.html", "Cup", ranking_of(payoff, names), [("game", "toy")], replays)
        page.goto((tmp_path / "report.html").as_uri())
        return page

    yield open_report
    page.close()
    assert faults == []


def test_small_tables_sort_and_answer_the_pointer(show, request):
    payoff = np.array([[0.0, -1, 1, 1], [1, 0, -1, 1], [-1, 1, 0, 1], [-1, -1, -1, 0]])
    page = show(payoff, ["rock", "paper", "scissors", "stone"])
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if "light" in request.node.name else "rgb(21, 24, 28)")
    elo = page.locator("#ratings th").nth(2).locator("button")
    elo.click()
    names = page.locator("#ratings tbody td:first-child").all_inner_texts()
    assert names[-1] == "stone"
    elo.click()
    assert page.locator("#ratings tbody td:first-child").first.inner_text() == "stone"
    assert page.locator("#ratings th[aria-sort=ascending]").inner_text().startswith("Elo")
    page.locator("#payoffs tbody tr").first.locator("td").nth(2).hover()
    assert page.locator("#tip").inner_text() == "rock against paper: -1 (expectation)"
    assert page.locator("#cycles line").count() == 3


def test_a_large_table_is_drawn_and_answers_the_pointer(show):
    skill = np.arange(60.0)
    page = show(np.subtract.outer(skill, skill), [f"e{number}" for number in range(60)])
    drawn = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(each => each > 0)"
    assert page.locator("#payoffs").evaluate(drawn)
    box = page.locator("#payoffs").bounding_box()
    page.locator("#payoffs").scroll_into_view_if_needed()
    page.locator("#payoffs").hover(position={"x": box["width"] - 2, "y": 2})
    assert page.locator("#tip").inner_text() == "e59 against e0: 59 ± 0"


def still(observation, legal, seat, noise):
    """Stands still."""
    return np.full(len(seat), 4)


def left(observation, legal, seat, noise):
    """Walks to the left."""
    return np.full(len(seat), 3)


def test_replays_are_drawn_in_the_report(show, tmp_path):
    """Games are played again; the browser decodes their pictures, which are in the page."""
    section = {"_target_": "games.overcooked.Overcooked", "layout": "cramped_room", "horizon": 40}
    words = ["random", f"{__name__}:still", f"{__name__}:left"]
    tournament = Tournament(enter(words, section), MatchStore(tmp_path), games=8)
    for _ in tournament.play():
        pass
    replays = draw_replays(tournament, rank(tournament.results()), tmp_path, 2)
    for _, path in replays:
        assert path.stat().st_size < MOST_BYTES
    page = show(np.eye(3), words, replays)
    page.locator("figure img").nth(1).scroll_into_view_if_needed()
    drawn = page.locator("figure img").evaluate_all("each => each.map(i => i.complete && i.naturalWidth > 100)")
    assert drawn == [True, True]
    captions = page.locator("figcaption").all_inner_texts()
    assert [text.partition(".")[0] for text in captions] == ["The best and the next", "The best and another"]
    assert page.evaluate("document.body.scrollWidth") <= 1200
