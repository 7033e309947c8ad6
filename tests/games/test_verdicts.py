"""A reply has a verdict only if it can be read in one way."""

import re
from time import perf_counter

import pytest

from games.preference.judges.verdicts import parse_verdict

FIRST, SECOND, UNREADABLE = 1.0, 0.0, None
REPLIES = [
    # one letter alone
    ("A", FIRST),
    (" B.\n", SECOND),
    ("a", FIRST),
    ("b.", SECOND),
    ("**A**", FIRST),
    ("(A)", FIRST),
    ("[[B]]", SECOND),
    ("`B`", SECOND),
    ('"A"', FIRST),
    ("„B“", SECOND),
    ("「A」", FIRST),
    ("Ａ。", FIRST),
    ("（Ｂ）", SECOND),
    ("Answer A", FIRST),
    ("\ufeffB", SECOND),
    # a last line with a mark
    ("Verdict: A", FIRST),
    ("verdict: b", SECOND),
    ("**Verdict:** A", FIRST),
    ("**Verdict: B**", SECOND),
    ("### Final verdict: [[A]]", FIRST),
    ("Answer: B.", SECOND),
    ("Answer: **B**", SECOND),
    ("The better answer is: A", FIRST),
    ("My final verdict is: [[B]]", SECOND),
    ("Verdict:\nA", FIRST),
    ("A is dull and wrong, B is kind.\n\nVerdict: B", SECOND),
    ("Answer A: dull.\nAnswer B: kind.\nVerdict: Answer B", SECOND),
    ("Verdict: A\nAll in all:\nVerdict: A", FIRST),
    ("A is dull.\r\nVerdict: B\r\n", SECOND),
    ("<verdict>A</verdict>", FIRST),
    ("判断：Ａ。", FIRST),
    ("更好的答案是：B", SECOND),
    ("Die bessere Antwort ist: A.", FIRST),
    ("Urteil: „B“", SECOND),
    # a JSON object
    ('{"verdict": "A"}', FIRST),
    ('{"reason": "A is dull", "better_answer": "B"}', SECOND),
    ('```json\n{"Verdict": "b"}\n```', SECOND),
    # thoughts are no reply
    ("<think>A is better. Verdict: A</think>\n\nB", SECOND),
    ("Let me see. A?</think>Verdict: A", FIRST),
    ("<think>Verdict: A", UNREADABLE),
    # sentences, which name both letters, or the wrong one
    ("A is better than B", UNREADABLE),
    ("A is better than B.", UNREADABLE),
    ("I prefer A over B", UNREADABLE),
    ("The better answer is A, not B.", UNREADABLE),
    ("The answer is not A", UNREADABLE),
    ("Answer: not A", UNREADABLE),
    ("The worse answer: A", UNREADABLE),
    ("Wrong answer: A", UNREADABLE),
    ("A: it is kind.", UNREADABLE),
    ("The better answer is (A).", UNREADABLE),
    ("Both are good, but B", UNREADABLE),
    # no letter, both letters, doubt, a mark that is taken back
    ("", UNREADABLE),
    (" \n", UNREADABLE),
    ("Neither", UNREADABLE),
    ("A tie", UNREADABLE),
    ("C", UNREADABLE),
    ("A or B", UNREADABLE),
    ("A/B", UNREADABLE),
    ("A?", UNREADABLE),
    ("!A", UNREADABLE),
    ("¬A", UNREADABLE),
    ("-A", UNREADABLE),
    ("~~A~~ B", UNREADABLE),
    ("АA", UNREADABLE),  # a Cyrillic letter beside a Latin one
    ("А", UNREADABLE),  # and alone
    ("Verdict: A or B", UNREADABLE),
    ("Verdict: A\nVerdict: B", UNREADABLE),
    ("Verdict: A\r\nVerdict: B", UNREADABLE),
    ("Verdict: A\nNo, wait, B is kinder.", UNREADABLE),
    ("Verdict: tie", UNREADABLE),
    ('{"verdict": "A", "answer": "B"}', UNREADABLE),
    ('{"verdict": "A", "verdict": "B"}', UNREADABLE),
    ('{"verdict": "not A"}', UNREADABLE),
    ('{"verdict": "A", "winner": null}', UNREADABLE),
    ('{"worse": "A"}', UNREADABLE),
    ('{"A": 1, "B": 0}', UNREADABLE),
    ('{"verdict": {"verdict": "A"}}', UNREADABLE),
    ('{"verdict": "A"', UNREADABLE),
]


@pytest.mark.parametrize(("reply", "verdict"), REPLIES)
def test_unambiguous_verdicts_are_parsed(reply, verdict):
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize(("reply", "verdict"), REPLIES)
def test_exchanging_letters_reverses_the_verdict(reply, verdict):
    swap = re.sub(r"\b[abABＡＢ]\b", lambda letter: dict(zip("abABＡＢ", "baBAＢＡ", strict=True))[letter[0]], reply)
    assert parse_verdict(swap) == (None if verdict is None else 1 - verdict)


@pytest.mark.parametrize("reply", ["(" * 10**5, "Verdict:" + " " * 10**5, "[" * 10**5 + "A", '{"a":' * 10**5])
def test_long_replies_are_parsed_quickly(reply):
    start = perf_counter()
    assert parse_verdict(reply) in (None, FIRST)
    assert perf_counter() - start < 1
