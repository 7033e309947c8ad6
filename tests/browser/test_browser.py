"""The page in a real browser: a person and a trained cook, boards by mouse and keyboard, reloads, tabs, origins."""

import os
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

ADVICE = "make browser-test installs what is missing"
pytest.importorskip("starlette", reason=f"there is no starlette: {ADVICE}")
sync_api = pytest.importorskip("playwright.sync_api", reason=f"there is no playwright: {ADVICE}")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip(f"there is no Chromium: {ADVICE}", allow_module_level=True)

from play_room import open_room, recorded, untrained  # noqa: E402

from games.overcooked import rules  # noqa: E402
from marl_engine.play.room import Room  # noqa: E402
from marl_engine.play.server import bind, make_app, make_server  # noqa: E402
from marl_engine.runs.players import load_player  # noqa: E402

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
RUN = Path(__file__).parents[2] / "runs/ci"
KEYS = ("ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft", None, "Space")  # of the actions of a cook
SOUP = 20
HOSTILE = ("{", "[]", '{"type": "start", "name": "../x"}', '{"type": "press", "action": 10000}', "x" * 900)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def serve(room):
    """Serves a room in a thread; yields the address of its page."""
    listener = bind("127.0.0.1", 0)
    server = make_server(make_app(room))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def open_page(browser, address, errors=0, **options):
    """A page of a browser window of its own; at the end checks that it has reported no error."""
    context = browser.new_context(viewport={"width": 1040, "height": 760}, **options)
    page, messages = context.new_page(), []
    page.on("console", lambda message: messages.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.set_default_timeout(20_000)
    page.goto(address)
    yield page
    assert len(messages) == errors, messages
    context.close()


def take_seat(page, name, seat=1):
    page.fill("#name", name)
    if page.locator("input[name=seat]").count():
        page.check(f"input[name=seat] >> nth={seat - 1}")
    page.click("text=Start")
    page.wait_for_selector("#stage")


def await_that(page, expression):
    """Waits until an expression of the page is true. The page forbids what Playwright's own function does."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def next_action(kitchen, row, seat, random):
    """Returns the action of a cook who does whatever the pot needs next, and gives way at random if it is blocked."""
    place, direction, item = row[1 + 3 * seat : 4 + 3 * seat].tolist()
    items, pot = row[1 + 3 * 2 :], int(kitchen.pots[0])
    soup, clock = items[pot], items[kitchen.terrain.size]
    wants = soup == rules.NOTHING or (soup & 3) < rules.INGREDIENTS
    cells = {kind: np.flatnonzero(kitchen.terrain == kind).tolist() for kind in range(7)}
    goals, acts = cells[rules.HATCH], True
    if item == rules.NOTHING:
        goals = cells[rules.ONIONS if wants else rules.DISHES]
    elif item == rules.ONION:
        goals = [pot] if wants else [cell for cell in cells[rules.COUNTER] if items[cell] == rules.NOTHING]
    elif item == rules.DISH:
        goals, acts = [pot], clock >= kitchen.cook_time[soup]
    action = walk(kitchen, place, direction, goals, blocked=int(row[1 + 3 * (1 - seat)]), acts=acts)
    return random.randrange(4) if action is None else action


def walk(kitchen, start, direction, goals, blocked, acts):
    """Returns the first action of a shortest way to face one of the goals, by breadth-first search; None: no way."""
    for toward in range(4):
        if kitchen.ahead[toward, start] in goals:
            return rules.INTERACT if acts and toward == direction else rules.STAY if toward == direction else toward
    first, queue = {start: None}, [start]
    for cell in queue:
        if any(kitchen.ahead[toward, cell] in goals for toward in range(4)):
            return first[cell]
        for toward in range(4):
            ahead = int(kitchen.ahead[toward, cell])
            if kitchen.terrain[ahead] == rules.FLOOR and ahead != blocked and ahead not in first:
                first[ahead] = toward if first[cell] is None else first[cell]
                queue.append(ahead)
    return None


def cook(page, table, until):
    """Presses keys as a cook would, one in each step, until a condition holds."""
    clock, random = -1, Random(0)
    while not until():
        assert not table.over
        if len(table.actions) > clock:
            clock = len(table.actions)
            key = KEYS[next_action(table.game.kitchen, table.game.rows[0].numpy(), 0, random)]
            if key:
                page.keyboard.press(key)
        time.sleep(0.01)


@pytest.mark.skipif(
    not (RUN / "summary.json").is_file(), reason="there is no trained cook: make browser-test trains one"
)
def test_a_person_and_the_agent_deliver_a_soup_across_a_reload(browser, tmp_path):
    room = Room(replace(load_player(RUN), name="runs/ci"), tmp_path, ticks=10.0, seed=0)
    with serve(room) as address, open_page(browser, address) as page:
        take_seat(page, "ann")
        (session,) = room.sessions.values()
        table = session.activity.table
        cook(page, table, lambda: len(table.actions) >= 12)
        page.reload()
        page.wait_for_selector("#stage")
        assert session.activity.table is table
        cook(page, table, lambda: table.payoffs[0] >= SOUP)
        assert len(room.sessions) == 1
        await_that(page, f"Number(document.querySelector('#players b').textContent) >= {SOUP}")
        if "SCREENSHOT" in os.environ:
            page.screenshot(path=os.environ["SCREENSHOT"])
        session.activity.pace = 0.0
        page.wait_for_selector("#again", timeout=120_000)
        page.click("#leave")
        page.wait_for_selector("text=human:ann – ")
    (record,) = recorded(room)
    assert len(record.actions) == 400
    assert record.payoffs == table.payoffs


def test_two_tabs_do_not_mix_and_each_goes_on_after_a_reload(browser, tmp_path):
    """Two games of connect four, by mouse and by keyboard, in tabs of one window."""
    room = open_room(tmp_path, "game=connect_four", "policy.hidden=[8]", ticks=50.0)
    with serve(room) as address, open_page(browser, address) as one:
        other = one.context.new_page()
        other.goto(address)
        take_seat(one, "ann")
        take_seat(other, "bob")
        one.click("#board button >> nth=3")  # the top of a column: the disc falls
        one.wait_for_selector("#board .o")
        assert one.locator("#board .x").count() == 1
        assert other.locator("#board .x").count() == 0
        other.keyboard.press("7")
        other.wait_for_selector("#board .o")
        boards = [page.locator("#board").get_attribute("data-lines") for page in (one, other)]
        assert boards[0].splitlines()[-1][3] == "x"
        assert boards[1].splitlines()[-1][6] == "x"
        for page, board in zip((one, other), boards, strict=True):
            page.reload()
            page.wait_for_selector("#board")
            assert page.locator("#board").get_attribute("data-lines") == board
        assert len(room.sessions) == 2
        while one.locator("#again").is_hidden():
            one.evaluate("document.querySelector('#moves button')?.click()")
            one.wait_for_timeout(30)
        assert one.locator("#turn").inner_text().startswith(("You won", "You lost"))
    (record,) = recorded(room)
    assert record.players[0] == "human:ann"


def test_hostile_messages_and_other_origins_change_nothing(browser, tmp_path):
    room = open_room(tmp_path, "game=openspiel_states", "game.name=tic_tac_toe", ticks=50.0)
    with serve(room) as address, open_page(browser, address) as page:
        take_seat(page, "ann", seat=1)
        for text in HOSTILE:
            page.evaluate("text => state.socket.send(text)", text)
            await_that(page, "document.querySelector('#status').textContent !== ''")
            page.evaluate("tell('')")
        page.click("#board button >> nth=4")
        page.wait_for_selector("#board .o")
        page.evaluate(
            "text => state.socket.send(text)", "x" * 100_000
        )  # closes the connection, and the page comes back
        await_that(page, "state.socket.readyState !== WebSocket.OPEN")
        await_that(page, "state.socket.readyState === WebSocket.OPEN")
        assert page.locator("#board .x").count() == 1
        with open_page(browser, "about:blank", errors=1) as stranger:
            script = """address => new Promise((done) => {
                const socket = new WebSocket(address);
                socket.onopen = () => done('open');
                socket.onerror = () => done('refused');
            })"""
            assert stranger.evaluate(script, address.replace("http", "ws") + "socket") == "refused"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible_in_light_and_dark(browser, tmp_path, scheme):
    """Text and ground differ in luminance by more than half of the scale, in either scheme."""
    room = open_room(tmp_path, "game=leduc_poker", ticks=50.0)
    with serve(room) as address, open_page(browser, address, color_scheme=scheme) as page:
        take_seat(page, "ann", seat=1)
        page.wait_for_selector("#text")
        assert page.locator("#text").inner_text().startswith("[Observer: 0]\n[Private: ")
        pixels = "element => ['color', 'backgroundColor'].map((name) => getComputedStyle(element)[name])"
        colours = page.eval_on_selector("section#stage", pixels)
        ink, ground = (sum(map(int, each[4:-1].split(","))) / 765 for each in colours)
        assert (ink < 0.3 and ground > 0.8) if scheme == "light" else (ink > 0.7 and ground < 0.3)
        page.keyboard.press("2")
        page.wait_for_selector("#log li")


def test_the_person_is_the_judge_of_two_answers(browser, tmp_path, monkeypatch):
    from toy_model import build_model, written_prompts

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, prompts = build_model(tmp_path / "model"), written_prompts(tmp_path / "prompts.txt")
    player = untrained(
        *("game=preference/sentiment", "game.judge.raters=[{variety:1.0}]", f"game.prompts={prompts}"),
        *(f"policy.model={model}", "policy.rank=2", "policy.length=6", "game.held_out=0.3"),
    )
    room = Room(player, tmp_path / "play", seed=0)
    with serve(room) as address, open_page(browser, address) as page:
        page.click("text=Start")
        for number, key in enumerate(("ArrowLeft", "ArrowDown", None), start=1):
            page.wait_for_selector("#first:enabled")
            page.keyboard.press(key) if key else page.click("#second")
            page.wait_for_selector(f"text={number} comparisons so far")
    lines = (tmp_path / "play" / "comparisons.jsonl").read_text().splitlines()
    assert [line.split('"preferred": ')[1][:3] for line in lines] == ["1.0", "0.5", "0.0"]
