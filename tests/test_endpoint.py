"""The endpoint judge against a server that answers as told: positions cancel, nothing is paid twice, failures halt."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from games.completions import verdict
from games.endpoint import Endpoint
from marl_engine.errors import Halted


class Stub:
    """A server whose `say` maps the text of a question to (status, content); it notes what it was sent."""

    def __init__(self):
        self.say = longer
        self.asked, self.keys, self.seconds, self.running, self.most = [], set(), 0.0, 0, 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                stub.running += 1
                stub.most = max(stub.most, stub.running)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append((self.path, body))
                stub.keys.add(self.headers.get("Authorization"))
                time.sleep(stub.seconds)
                status, text = stub.say(body["messages"][0]["content"])
                usage = {"prompt_tokens": 100, "completion_tokens": 2}
                answer = {"choices": [{"message": {"content": text}}], "usage": usage}
                stub.running -= 1
                try:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(json.dumps(answer).encode())
                except OSError:  # it waited no longer
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def longer(text):
    """Prefers the longer answer, whichever place it has."""
    first, second = text.split("|")[1:]
    return 200, "A" if len(first) > len(second) else "B"


def failing(times, status):
    """Does so after it has failed so many times."""
    left = iter(range(times))
    return lambda text: longer(text) if next(left, None) is None else (status, "not now")


@pytest.fixture
def stub():
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def judge(stub, tmp_path):
    def made(**settings):
        known = {"model": "m", "template": "{prompt}|{first}|{second}", "wait": 0.01, "cache": str(tmp_path / "kept")}
        return Endpoint(**{"url": stub.url, **known, **settings})

    return made


def test_the_better_answer_wins_in_either_place(stub, judge):
    said = judge().prefers(["x", "x", "x"], ["long", "no", "same"], ["no", "long", "same"])
    assert said.tolist() == [1.0, 0.0, 0.5]
    assert len(stub.asked) == 2  # both orders of one pair; equal answers are not asked about
    path, body = stub.asked[0]
    assert (path, body["model"], body["temperature"]) == ("/v1/chat/completions", "m", 0)


def test_a_judge_of_positions_says_nothing(stub, judge):
    stub.say = lambda text: (200, "A")
    assert judge().prefers(["x"] * 3, ["a", "b", "c"], ["b", "c", "a"]).tolist() == [0.5] * 3


def test_nothing_is_paid_twice_not_even_by_the_next_run(stub, judge):
    first = judge(input_price=3.0, output_price=15.0)
    first.prefers(["x", "y"], ["long", "no"], ["no", "long"])
    assert first.costs()["judge/requests"] == len(stub.asked) == 4
    assert first.costs()["judge/cost"] == pytest.approx((4 * 100 * 3 + 4 * 2 * 15) / 1e6)
    again = judge()
    assert again.prefers(["y", "x"], ["no", "long"], ["long", "no"]).tolist() == [0.0, 1.0]
    assert (again.costs()["judge/requests"], again.costs()["judge/kept"], len(stub.asked)) == (0, 4, 4)
    judge(model="other").prefers(["x"], ["long"], ["no"])
    judge(template="Which?{prompt}|{first}|{second}").prefers(["x"], ["long"], ["no"])
    assert len(stub.asked) == 8


def test_what_is_asked_is_what_was_answered_whatever_it_looks_like(stub, judge):
    judge().prefers(["{first}"], ["{second} \\1"], ["{prompt}"])
    assert {body["messages"][0]["content"] for _, body in stub.asked} == {
        "{first}|{second} \\1|{prompt}",
        "{first}|{prompt}|{second} \\1",
    }


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_waited_out(stub, judge, status):
    stub.say = failing(3, status)
    assert judge(parallel=1).prefers(["x"], ["long"], ["no"]).tolist() == [1.0]
    assert len(stub.asked) == 5


@pytest.mark.parametrize(
    ("say", "settings", "says"),
    [
        (failing(99, 503), {"attempts": 3}, "gave no answer in 3 attempts: 503"),
        (failing(99, 401), {}, "refused the question: 401 .*not now"),
        (longer, {"url": "http://127.0.0.1:1/v1", "attempts": 2}, "gave no answer in 2 attempts: .*refused"),
        (longer, {"cache": "/dev/null/kept"}, "cache: /dev/null/kept cannot be used"),
    ],
)
def test_lasting_failures_halt_in_one_sentence(stub, judge, say, settings, says):
    stub.say = say
    with pytest.raises(Halted, match=rf"^game.judge[^\n]*{says}[^\n]*$"):
        judge(**settings).prefers(["x"] * 9, [f"long{n}" for n in range(9)], ["no"] * 9)


def test_what_was_paid_before_a_failure_is_kept(stub, judge):
    left = iter(range(4))
    stub.say = lambda text: (400, "") if next(left, None) is None else longer(text)
    texts = [f"long{number}" for number in range(4)]
    with pytest.raises(Halted):
        judge(parallel=1).prefers(["x"] * 4, texts, ["no"] * 4)
    stub.say = longer
    again = judge()
    assert again.prefers(["x"] * 4, texts, ["no"] * 4).tolist() == [1.0] * 4
    assert again.costs()["judge/kept"] == 4


def test_a_slow_endpoint_is_given_up_and_a_patient_judge_asks_many_at_once(stub, judge):
    stub.seconds = 0.3
    judge(parallel=6).prefers(["x"] * 6, [f"long{number}" for number in range(6)], ["no"] * 6)
    assert 3 <= stub.most <= 6
    with pytest.raises(Halted, match="timed out"):
        judge(timeout=0.05, attempts=1).prefers(["y"], ["long"], ["no"])


def test_rubbish_is_asked_again_then_a_tie_and_too_much_of_it_halts(stub, judge):
    stub.say = lambda text: (200, "I cannot say.") if text.startswith("odd") else longer(text)
    patient = judge(attempts=2)
    assert patient.prefers(["odd", "x"], ["long", "long"], ["no", "no"]).tolist() == [0.5, 1.0]
    assert (patient.costs()["judge/unreadable"], patient.costs()["judge/requests"]) == (2, 6)
    stub.say = longer
    assert judge().prefers(["odd"], ["long"], ["no"]).tolist() == [1.0]  # a tie of that kind is not kept
    stub.say = lambda text: (200, None)
    with pytest.raises(Halted, match="with neither A nor B"):
        judge(attempts=1).prefers(["x"] * 9, [f"other{number}" for number in range(9)], ["no"] * 9)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        *(("A", 1), (" B.", 0), ("**A**", 1), ("Answer: B", 0), ("A: it is kind.", 1), ("B\nbecause A is dull.", 0)),
        *(("The better answer is (A).", 1), ("A tie", None), ("A or B", None), ("", None), ("Neither", None)),
    ],
)
def test_a_verdict_is_one_letter(text, first):
    assert verdict(text) == first


def test_the_key_goes_from_the_environment_to_the_header_and_nowhere_else(stub, judge, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    made = judge(key="JUDGE_KEY")
    made.prefers(["x"], ["long"], ["no"])
    assert stub.keys == {"Bearer secret"}
    assert "secret" not in repr(made) + json.dumps(vars(made))
    with pytest.raises(ValueError, match=r"name of an environment variable, in capitals, and not a key$"):
        judge(key="sk-0123456789")
    with pytest.raises(ValueError, match="NO_SUCH_KEY is not set"):
        judge(key="NO_SUCH_KEY")


@pytest.mark.parametrize(
    "settings",
    [
        *({"url": "localhost"}, {"model": ""}, {"template": "{prompt}{first}"}, {"parallel": 0}, {"timeout": 0}),
        *({"attempts": 0}, {"wait": -1}, {"unreadable": -1}, {"input_price": -1}),
    ],
)
def test_what_cannot_be_asked_is_refused(judge, settings):
    with pytest.raises(ValueError, match=r"game\.judge\.[^\n]*$"):
        judge(**settings)
