"""The endpoint judge against a local server: both orders are asked, nothing is paid twice, failures halt the run."""

import json
import threading
import time
from email.message import Message
from email.utils import formatdate

import pytest
from chat_server import Stub, prefer_longer

from games.preference.judges.chat_api import Endpoint, NoCompletion, read_completion, read_wait, request_completion
from games.preference.judges.llm_endpoint import LLMJudge
from marl_engine.errors import Halted


def make_failure(times, status, words="not now"):
    """Returns a server's answers that fail after a number of requests."""
    attempts = iter(range(times))
    return lambda text: prefer_longer(text) if next(attempts, None) is None else (status, {"error": {"message": words}})


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


@pytest.fixture
def judge(stub, tmp_path):
    def make_judge(**settings):
        defaults = {
            "model": "m",
            "template": "{prompt}|{first}|{second}",
            "wait": 0.01,
            "cache": str(tmp_path / "kept"),
        }
        return LLMJudge(**{"url": stub.url, **defaults, **settings})

    return make_judge


def test_the_better_answer_wins_in_either_place(stub, judge):
    likes = judge().prefers(["x", "x", "x"], ["long", "no", "same"], ["no", "long", "same"])
    assert likes.tolist() == [1.0, 0.0, 0.5]
    assert len(stub.requests) == 2  # both orders of one pair; equal answers are not asked about
    path, body = stub.requests[0]
    assert (path, body["model"], body["temperature"]) == ("/v1/chat/completions", "m", 0)


def test_a_judge_that_favours_a_position_gives_ties(stub, judge):
    stub.say = lambda text: (200, "A")
    assert judge().prefers(["x"] * 3, ["a", "b", "c"], ["b", "c", "a"]).tolist() == [0.5] * 3


def test_verdicts_are_cached_across_runs(stub, judge):
    first = judge(input_price=3.0, output_price=15.0)
    first.prefers(["x", "y"], ["long", "no"], ["no", "long"])
    assert first.costs()["judge/requests"] == len(stub.requests) == 4
    assert first.costs()["judge/cost"] == pytest.approx((4 * 100 * 3 + 4 * 2 * 15) / 1e6)
    again = judge()
    assert again.prefers(["y", "x"], ["no", "long"], ["long", "no"]).tolist() == [0.0, 1.0]
    assert (again.costs()["judge/requests"], again.costs()["judge/cache_hits"], len(stub.requests)) == (0, 4, 4)
    judge(model="other").prefers(["x"], ["long"], ["no"])
    judge(template="Which?{prompt}|{first}|{second}").prefers(["x"], ["long"], ["no"])
    assert len(stub.requests) == 8


@pytest.mark.parametrize(
    "settings",
    [
        {"options": {"temperature": 0, "max_tokens": 8}},
        {"options": {"temperature": 1, "max_tokens": 16}},
        {"system": "Be strict."},
        {"template": "{prompt}|{first}|{second} "},
    ],
)
def test_other_settings_are_not_answered_from_the_cache(stub, judge, settings):
    judge().prefers(["x"], ["long"], ["no"])
    judge(**settings).prefers(["x"], ["long"], ["no"])
    assert len(stub.requests) == 4
    judge(**settings, wait=0.02, attempts=9, url=f"{stub.url}/").prefers(["x"], ["long"], ["no"])  # these do not
    assert len(stub.requests) == 4


def test_another_endpoint_is_not_answered_from_the_cache(stub, judge):
    judge().prefers(["x"], ["long"], ["no"])
    other = Stub()
    other.say = lambda text: (200, "B" if prefer_longer(text)[1] == "A" else "A")
    try:
        assert judge(url=other.url).prefers(["x"], ["long"], ["no"]).tolist() == [0.0]
        assert len(other.requests) == 2
    finally:
        other.close()


def test_verdicts_of_another_parser_version_are_not_used(stub, judge, monkeypatch):
    judge().prefers(["x"], ["long"], ["no"])
    monkeypatch.setattr("games.preference.judges.verdict_cache.VERSION", 1)
    judge().prefers(["x"], ["long"], ["no"])
    assert len(stub.requests) == 4


def test_answers_are_sent_verbatim(stub, judge):
    judge().prefers(["{first}"], ["{second} \\1"], ["{prompt}"])
    assert {body["messages"][0]["content"] for _, body in stub.requests} == {
        "{first}|{second} \\1|{prompt}",
        "{first}|{prompt}|{second} \\1",
    }


@pytest.mark.parametrize("status", [429, 500, 503])
def test_temporary_failures_are_retried(stub, judge, status):
    stub.say = make_failure(3, status)
    assert judge(parallel=1).prefers(["x"], ["long"], ["no"]).tolist() == [1.0]
    assert len(stub.requests) == 5


@pytest.mark.parametrize(
    ("say", "settings", "says"),
    [
        (make_failure(99, 503), {"attempts": 3}, "gave no answer in 3 attempts: 503 [a-zA-Z ]*: not now"),
        (make_failure(99, 401), {}, "refused the question: 401 [a-zA-Z ]*: not now"),
        (
            make_failure(99, 400, "Unsupported [/INST] 'max_tokens'\n\x1b[1m"),
            {},
            r": Unsupported \[/INST\] 'max_tokens' \\x1b",
        ),
        (
            make_failure(99, 200, "no credits"),
            {"attempts": 2},
            "gave no answer in 2 attempts: no chat completion: no credits",
        ),
        (make_failure(99, 400, "é" * 600), {}, "refused the question: 400 [a-zA-Z ]*: é{500}…"),
        (prefer_longer, {"url": "http://127.0.0.1:1/v1", "attempts": 2}, "gave no answer in 2 attempts: .*refused"),
        (prefer_longer, {"cache": "/dev/null/kept"}, "cache: /dev/null/kept cannot be used"),
    ],
)
def test_permanent_failures_halt_the_run(stub, judge, say, settings, says):
    stub.say = say
    with pytest.raises(Halted, match=rf"^game.judge[^\n]*{says}[^\n]*$"):
        judge(**settings).prefers(["x"] * 9, [f"long{n}" for n in range(9)], ["no"] * 9)


@pytest.mark.parametrize(("parallel", "prompts"), [(1, "abcdefg!"), (8, "!abcdefg")])
def test_verdicts_before_and_beside_a_failure_are_cached(stub, judge, parallel, prompts):
    """One question is refused: the last one, or the first of eight that are asked in parallel."""

    def say(text):
        if text.startswith("!"):
            return 400, ""
        time.sleep(0.05 * (parallel - 1))
        return prefer_longer(text)

    stub.say, broken = say, judge(parallel=parallel)
    with pytest.raises(Halted, match="400"):
        broken.prefers(prompts, ["long"] * 8, ["no"] * 8)
    stub.say, again = prefer_longer, judge()
    assert again.prefers(prompts, ["long"] * 8, ["no"] * 8).tolist() == [1.0] * 8
    assert again.costs()["judge/cache_hits"] == broken.costs()["judge/requests"] >= 7


def test_slow_endpoints_time_out_and_requests_are_concurrent(stub, judge):
    stub.seconds = 0.3
    judge(parallel=6).prefers(["x"] * 6, [f"long{number}" for number in range(6)], ["no"] * 6)
    assert 3 <= stub.peak <= 6
    with pytest.raises(Halted, match="timed out"):
        judge(timeout=0.05, attempts=1).prefers(["y"], ["long"], ["no"])


def test_unreadable_replies_are_ties_and_too_many_halt_the_run(stub, judge):
    stub.say = lambda text: (200, "A is better than B") if text.startswith("odd") else prefer_longer(text)
    unsure = judge()
    assert unsure.prefers(["odd", "x"], ["long", "long"], ["no", "no"]).tolist() == [0.5, 1.0]
    assert (unsure.costs()["judge/unreadable"], unsure.costs()["judge/requests"]) == (2, 4)  # each is paid for once
    stub.say = prefer_longer
    assert judge().prefers(["odd"], ["long"], ["no"]).tolist() == [1.0]
    stub.say = lambda text: (200, "I prefer [A] over [/B]")
    with pytest.raises(Halted, match=r"^game.judge: 3 of 3 replies of m gave no .*was 'I prefer \[A\] over \[/B\]'"):
        judge(parallel=1).prefers(["x"] * 9, [f"other{number}" for number in range(9)], ["no"] * 9)


def completion(message, reason="stop", **usage):
    """Returns the response with a message."""
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (completion({"content": None}, prompt_tokens=100, completion_tokens=2), "the last was empty"),
        ({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}, "the last was empty"),
        (
            completion({"content": None, "refusal": "I must not."}, prompt_tokens=100, completion_tokens=2),
            "I must not.",
        ),
        (completion({"content": "A"}, "length", prompt_tokens=100, completion_tokens=2), "cut off after 2 tokens: 'A'"),
    ],
)
def test_replies_without_text_are_billed_and_counted(stub, judge, answer, words):
    stub.say = lambda text: (200, answer)
    paid = judge(input_price=1.0, output_price=1.0, unreadable=1)
    assert paid.prefers(["x"], ["long"], ["no"]).tolist() == [0.5]
    assert paid.costs()["judge/cost"] == pytest.approx(2 * 102 / 1e6)
    assert (paid.costs()["judge/requests"], paid.costs()["judge/unreadable"]) == (2, 2)
    with pytest.raises(Halted, match=words):
        judge(unreadable=0).prefers(["x"], ["long"], ["no"])


def test_contents_in_parts_are_joined(stub, judge):
    parts = [{"type": "reasoning", "summary": []}, {"type": "text", "text": "Verdict:"}, {"type": "text", "text": " A"}]
    stub.say = lambda text: (200, completion({"content": parts}, prompt_tokens=1))
    asker = judge()
    assert asker.prefers(["x"], ["long"], ["no"]).tolist() == [0.5]  # A in both orders
    assert asker.costs()["judge/unreadable"] == 0


@pytest.mark.parametrize("answer", ["", "<html>Sign in</html>", "[]", '"A"', "{}", '{"choices": 5}', "[" * 10**5])
def test_responses_without_a_completion_are_failures(answer):
    with pytest.raises(NoCompletion, match=r"^no chat completion[^\n]*$"):
        read_completion(answer.encode())


@pytest.mark.parametrize(
    "usage", [None, 5, {}, {"prompt_tokens": None}, {"prompt_tokens": "12", "completion_tokens": float("nan")}]
)
def test_missing_token_counts_are_zero(usage):
    assert read_completion(json.dumps({"choices": [], "usage": usage}).encode())[2:] == (0, 0)


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"Retry-After": formatdate(NOW + 20, usegmt=True)}, 20.0),
        ({"Retry-After": formatdate(NOW - 20, usegmt=True)}, 0.0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": "x", "Retry-After": "9"}, 9.0),
        ({"Retry-After": "86400"}, 300.0),
        *(({"Retry-After": text}, 0.0) for text in ("", "soon", "nan", "inf", "-5", "Mon, 99 Foo 99999999999")),
    ],
)
def test_an_endpoint_says_how_long_to_wait(headers, seconds):
    message = Message()
    for name, text in headers.items():
        message[name] = text
    assert read_wait(message, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("headers", [{"Retry-After": "0.4"}, {"Retry-After-Ms": "400"}])
def test_the_endpoint_determines_the_wait_before_a_retry(stub, headers):
    stub.say, stub.headers = make_failure(1, 429), headers
    body = json.dumps({"messages": [{"role": "user", "content": "x|long|no"}]}).encode()
    start = time.perf_counter()
    assert request_completion(Endpoint(stub.url, None, 5.0, 2, 0.01), body, threading.Event()).text == "A"
    assert 0.4 <= time.perf_counter() - start < 2


def test_options_are_sent_except_null_ones(stub, judge):
    options = {"temperature": None, "max_tokens": None, "max_completion_tokens": 64, "reasoning_effort": "low"}
    judge(options=options, system="Be strict.", parallel=1).prefers(["x"], ["long"], ["no"])
    assert stub.requests[0][1] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "x|long|no"}],
        "max_completion_tokens": 64,
        "reasoning_effort": "low",
    }


def test_a_template_may_be_a_file(stub, judge, tmp_path):
    (tmp_path / "mine.txt").write_text("\ufeff{prompt}|{first}|{second}", encoding="utf-8")
    assert judge(template=str(tmp_path / "mine.txt")).prefers(["x"], ["long"], ["no"]).tolist() == [1.0]
    with pytest.raises(ValueError, match=r"^game.judge.template: .*none.txt cannot be read"):
        judge(template=str(tmp_path / "none.txt"))


def test_the_default_template_asks_for_a_readable_form(stub, judge):
    stub.say = lambda text: (200, "Verdict: B" if text.rindex("good") > text.rindex("bad") else "Verdict: A")
    result = judge(template=None)
    assert result.prefers(["Why?"], ["good"], ["bad"]).tolist() == [1.0]
    assert '"Verdict: A"' in stub.requests[0][1]["messages"][0]["content"]


def test_the_key_goes_from_the_environment_to_the_header_and_nowhere_else(stub, judge, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with_key = judge(key="JUDGE_KEY")
    with_key.prefers(["x"], ["long"], ["no"])
    assert stub.keys == {"Bearer secret"}
    assert "secret" not in repr(with_key) + json.dumps(vars(with_key))
    with pytest.raises(ValueError, match=r"name of an environment variable, in capitals, and not a key$"):
        judge(key="sk-0123456789")
    with pytest.raises(ValueError, match="NO_SUCH_KEY is not set"):
        judge(key="NO_SUCH_KEY")


@pytest.mark.parametrize(
    "settings",
    [
        *({"url": "localhost"}, {"model": ""}, {"template": "{prompt}{first}"}, {"parallel": 0}, {"timeout": 0}),
        *({"attempts": 0}, {"wait": -1}, {"unreadable": -1}, {"input_price": -1}, {"wait": float("nan")}),
        *({"url": "http://[::1/v1"}, {"url": "http://"}, {"url": "http://a b/v1"}, {"url": "http://a:99999/v1"}),
        *({"options": {"stream": True}}, {"options": {"model": "other"}}),
    ],
)
def test_invalid_settings_are_refused(judge, settings):
    with pytest.raises(ValueError, match=r"game\.judge\.[^\n]*$"):
        judge(**settings)
