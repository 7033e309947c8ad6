"""The server of the page, by WebSocket: whole games, reloads, tabs, records, and what it refuses."""

import json

import pytest

pytest.importorskip("starlette", reason="the page needs pip install 'marl_engine[play]'")
from play_room import KITCHEN, Tab, client, open_room, recorded, untrained
from starlette.websockets import WebSocketDisconnect

from games.preference.judges.comparisons import read_comparisons
from marl_engine.errors import Refused
from marl_engine.play import room as rooms
from marl_engine.play.activities import PlayedGame, WatchedGame
from marl_engine.play.judging import Judging
from marl_engine.play.messages import LARGEST_MESSAGE, Prefer, Press, Release, parse_message
from marl_engine.play.server import MOST_REFUSALS, OTHER_TAB, POLICY, TOO_BIG, bind, is_own_host, own_hosts
from marl_engine.runs.play_records import append_line, read_records

START = {"type": "start", "name": "ann", "seat": 1}
HOSTILE = [
    *("", "[]", "null", "7", "{", '"start"', "[" * LARGEST_MESSAGE, "\x00", '{"type": NaN}', '{"type": "start"}'),
    *('{"type": "eval", "code": "1"}', '{"type": "start", "name": "../../etc", "seat": 0}'),
    *('{"type": "start", "name": "ann", "seat": "0"}', '{"type": "start", "name": "ann", "seat": 1.0}'),
    *('{"type": "start", "name": "ann", "seat": true}', '{"type": "start", "name": "ann", "seat": 99}'),
    *('{"type": "start", "name": ["ann"]}', '{"type": "start", "name": "ann", "file": "/etc/passwd"}'),
    *('{"type": "press", "action": -1}', '{"type": "press", "action": 1e400}', '{"type": "press", "action": 1}'),
    '{"type": "press", "action": ' + "9" * 900 + "}",
    *('{"type": "watch", "game": "../games"}', '{"type": "watch", "game": 5}', '{"type": "release"}'),
    '{"type": "prefer", "number": 0, "answer": "third"}',
]


@pytest.mark.parametrize(
    "keys", [("game=kuhn_poker",), ("game=leduc_poker",), ("game=connect_four", "policy.hidden=[8]")]
)
def test_a_game_is_played_recorded_and_watched_again(keys, tmp_path):
    room = open_room(tmp_path / "play", *keys)
    with client(room) as web, web.websocket_connect("/socket") as socket:
        tab = Tab(socket)
        assert tab.scene["kind"] == "none"
        tab.ask(**START)
        last = tab.play()
        assert last["players"] == ["runs/untrained", "human:ann"]
        (record,) = recorded(room)
        assert record.payoffs == last["payoffs"]
        assert sum(record.payoffs) == 0
        tab.until(lambda message: message["type"] == "room")
        assert [game["payoffs"] for game in tab.room["games"]] == [record.payoffs]
        tab.scene = tab.ask(type="watch", game=0)
        while not tab.scene["over"]:
            tab.until(lambda message: message["type"] == "scene")
        assert tab.scene["watched"]
        assert [tab.scene[name] for name in ("payoffs", "log", "text")] == [
            last[name] for name in ("payoffs", "log", "text")
        ]
    assert recorded(room) == [record]  # what is watched is not recorded


def test_a_key_that_is_held_is_repeated_and_a_key_that_is_pressed_acts_once(tmp_path):
    """In a kitchen, which does not wait for people; a cook without a key stays where it is."""
    file, press, release = tmp_path / "games.jsonl", Press(type="press", action=0), Release(type="release")
    game = PlayedGame(untrained(*KITCHEN), file, seat=1, name="ann", seed=0, pace=0.0)
    messages = {2: [press], 5: [release], 8: [press, release]}
    while not game.over:
        assert not game.waits()
        for message in messages.get(game.scene()["clock"], []):
            game.take(message)
        game.advance()
    assert game.scene()["picture"].startswith("data:image/png;base64,")
    (record,) = read_records(file)
    assert [row[1] for row in record.actions] == [4, 4, 0, 0, 0, 4, 4, 4, 0, 4, 4, 4]


def test_a_page_that_is_loaded_anew_goes_on_and_tabs_do_not_mix(tmp_path):
    room = open_room(tmp_path, "game=leduc_poker")
    with client(room) as web:
        with web.websocket_connect("/socket") as first, web.websocket_connect("/socket") as second:
            one, other = Tab(first), Tab(second)
            one.ask(type="start", name="ann", seat=0)
            other.ask(type="start", name="bob", seat=0)
            assert one.room["session"] != other.room["session"]
            other.ask(type="press", action=other.scene["moves"][0]["action"])
            assert one.ask(type="prefer", number=0, answer="first")["type"] == "error"
            before = one.scene
        with web.websocket_connect(f"/socket?session={one.room['session']}") as third:
            again = Tab(third)
            assert again.scene == before
            assert again.room["session"] == one.room["session"]
            again.play()
    assert [record.players[0] for record in recorded(room)] == ["human:ann"]


def test_a_second_page_of_a_session_takes_its_place(tmp_path):
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web, web.websocket_connect("/socket") as first:
        name = Tab(first).room["session"]
        with web.websocket_connect(f"/socket?session={name}") as second:
            assert Tab(second).room["session"] == name
            with pytest.raises(WebSocketDisconnect) as end:
                first.receive_json()
            assert end.value.code == OTHER_TAB
            assert list(room.sessions) == [name]
        with web.websocket_connect("/socket?session=../../etc") as third:
            assert Tab(third).room["session"] not in (name, "../../etc")


@pytest.mark.parametrize("under_way", [False, True])
def test_hostile_messages_are_refused_and_harm_nothing(tmp_path, under_way):
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web, web.websocket_connect("/socket") as socket:
        tab = Tab(socket)
        if under_way:
            tab.ask(type="start", name="ann", seat=0)
        for text in HOSTILE:
            if (under_way and text == '{"type": "press", "action": 1}') or "release" in text:
                continue
            socket.send_text(text)
            answer = tab.until(lambda message: message["type"] in ("error", "scene"))
            assert answer["type"] == "error", text
            assert len(answer["text"]) < 300
        socket.send_bytes(b"\x80\x04.")
        assert tab.until(lambda message: True) == {"type": "error", "text": "messages are texts"}
        tab.ask(type="start", name="ann", seat=0)
        assert tab.play()["over"]


def test_large_and_many_messages_close_the_connection_only(tmp_path):
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web:
        with web.websocket_connect("/socket") as socket:
            socket.send_text(" " * (LARGEST_MESSAGE + 1))
            with pytest.raises(WebSocketDisconnect) as end:
                Tab(socket).until(lambda message: False)
            assert end.value.code == TOO_BIG
        with web.websocket_connect("/socket") as socket:
            tab = Tab(socket)
            for _ in range(MOST_REFUSALS + 1):
                socket.send_text("{}")
            with pytest.raises(WebSocketDisconnect) as end:
                tab.until(lambda message: False)
            assert end.value.code == POLICY
        with web.websocket_connect("/socket") as socket:
            assert Tab(socket).scene["kind"] == "none"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:2"},
        {"origin": "https://localhost:1"},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
)
def test_pages_of_other_origins_are_refused(tmp_path, headers):
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web:
        with pytest.raises(WebSocketDisconnect), web.websocket_connect("/socket", headers=headers):
            pass
        assert web.get("/", headers=headers).status_code == (403 if "host" in headers else 200)
    assert not room.sessions


@pytest.mark.parametrize(
    "path",
    ["/../room.py", "/..%2froom.py", "/%2e%2e/room.py", "/page/play.js", "//etc/passwd", "/games.jsonl"],
)
def test_only_the_files_of_the_page_are_served(tmp_path, path):
    with client(open_room(tmp_path, "game=kuhn_poker")) as web:
        assert web.get(path).status_code == 404
        assert web.post("/").status_code == 405


def test_the_page_is_served_whole_and_loads_nothing_from_elsewhere(tmp_path):
    with client(open_room(tmp_path, "game=kuhn_poker")) as web:
        texts = {name: web.get(f"/{name}") for name in ("", "play.css", "play.js", "favicon.svg")}
        assert all(each.status_code == 200 for each in texts.values())
        assert "default-src 'self'" in texts[""].headers["content-security-policy"]
        for name in ("play.css", "play.js", "favicon.svg"):
            assert "http://" not in texts[name].text.replace("http://www.w3.org/2000/svg", "")
            assert f'"{name}"' in texts[""].text


def test_hosts():
    assert own_hosts("127.0.0.1") == own_hosts("localhost")
    assert all(is_own_host(host, own_hosts("localhost")) for host in ("localhost:80", "127.0.0.1", "[::1]:9"))
    assert not any(is_own_host(host, own_hosts("::1")) for host in ("", "evil", "localhost.evil:80", "[::1", "0.0.0.0"))
    assert is_own_host("kitchen.local:80", own_hosts("0.0.0.0"))
    with (
        bind("127.0.0.1", 0) as listener,
        pytest.raises(Refused, match=r"^host=127.0.0.1 port=\d+: Address already in use$"),
    ):
        bind("127.0.0.1", listener.getsockname()[1])


def test_tabs_beyond_the_limit_take_the_place_of_closed_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "MOST_SESSIONS", 2)
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web, web.websocket_connect("/socket") as first:
        with web.websocket_connect("/socket") as second:
            kept, closed = Tab(first).room["session"], Tab(second).room["session"]
            with web.websocket_connect("/socket") as third, pytest.raises(WebSocketDisconnect):
                third.receive_json()
        with web.websocket_connect("/socket") as third:
            assert list(room.sessions) == [kept, Tab(third).room["session"]]
            assert closed not in room.sessions


def test_damaged_records_are_passed_over(tmp_path):
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web, web.websocket_connect("/socket") as socket:
        tab = Tab(socket)
        tab.ask(**START)
        tab.play()
    (line,) = room.games.read_text().splitlines()
    record = json.loads(line)
    for name, value in (("actions", [[0]]), ("payoffs", [1.0]), ("players", ["a", "b"]), ("seed", "1"), ("more", 1)):
        append_line(room.games, {**record, name: value})
    with room.games.open("a") as file:
        file.write("{\n\n\x80\n" + line[:40])
    assert len(read_records(room.games)) == 2  # one with a name more than a record has
    other = {**record, "game": {**record["game"], "name": "leduc_poker"}}
    append_line(tmp_path / "other.jsonl", other)
    with pytest.raises(Refused, match="not the game of runs/untrained"):
        WatchedGame(untrained("game=kuhn_poker"), read_records(tmp_path / "other.jsonl")[0], pace=0.0)


def test_an_error_in_a_game_ends_that_game_only(tmp_path):
    """The recorded moves are cut short, so the game cannot be watched to its end."""
    room = open_room(tmp_path, "game=kuhn_poker")
    with client(room) as web, web.websocket_connect("/socket") as socket:
        tab = Tab(socket)
        tab.ask(**START)
        tab.play()
        record = json.loads(room.games.read_text())
        append_line(room.games, {**record, "actions": record["actions"][:1]})
        tab.until(lambda message: message["type"] == "room")
        tab.ask(type="watch", game=1)
        assert tab.until(lambda message: message["type"] == "error")["text"] == "the record ends before its game does"
        assert tab.until(lambda message: message["type"] == "scene")["kind"] == "none"
        tab.ask(**START)
        assert tab.play()["over"]


def test_messages_are_strict():
    assert parse_message('{"type": "prefer", "number": 3, "answer": "equal"}') == Prefer(
        type="prefer", number=3, answer="equal"
    )
    with pytest.raises(Refused, match=r"^the message is invalid at press.action: Input should be a valid integer$"):
        parse_message('{"type": "press", "action": "1"}')


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """A small language model that was never trained."""
    from toy_model import build_model, written_prompts

    from marl_engine.policies.language import backbone

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(backbone, "BACKBONES", {})
    model, prompts = build_model(tmp_path / "model"), written_prompts(tmp_path / "prompts.txt")
    return untrained(
        *("game=preference/sentiment", "game.judge.raters=[{variety:1.0}]", f"game.prompts={prompts}"),
        *(f"policy.model={model}", "policy.rank=2", "policy.length=6", "game.held_out=0.3"),
    )


def test_clicks_become_comparisons_that_a_judge_is_trained_on(writer, tmp_path):
    file = tmp_path / "play" / "comparisons.jsonl"
    judging = Judging(writer, file, name="ann", seed=0, rival="initial")
    shown = []
    for number in range(21):
        judging.advance()
        scene = judging.scene()
        shown.append((scene["prompt"], *scene["answers"]))
        judging.take(Prefer(type="prefer", number=number, answer=("first", "second", "equal")[number % 3]))
        with pytest.raises(Refused, match="no longer asked for"):
            judging.take(Prefer(type="prefer", number=number, answer="first"))
    comparisons = read_comparisons(file)
    assert list(zip(*comparisons[:3], strict=True)) == shown
    assert comparisons.chances.tolist() == [1.0, 0.0, 0.5] * 7
    assert {prompt for prompt, *_ in shown} <= set(writer.game.texts[: writer.game.train_prompts])
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line["judge"] for line in lines} == {"human:ann"}
    sides = {tuple(line["players"]) for line in lines}
    ours, other = "runs/untrained", "runs/untrained/initial"
    assert sides == {(ours, other), (other, ours)}


def test_answers_are_compared_on_the_page(writer, tmp_path):
    room = rooms.Room(writer, tmp_path / "play", seed=0)
    with client(room) as web, web.websocket_connect("/socket") as socket:
        tab = Tab(socket)
        assert tab.room["judges"]
        tab.ask(type="start", name="ann")
        tab.until(lambda message: message.get("answers"))
        answers = tab.scene["answers"]
        socket.send_json({"type": "prefer", "number": 0, "answer": "second"})
        tab.until(lambda message: message.get("number") == 1 and message.get("answers"))
    (line,) = (tmp_path / "play" / "comparisons.jsonl").read_text().splitlines()
    assert [json.loads(line)[name] for name in ("first", "second", "preferred")] == [*answers, 0.0]
