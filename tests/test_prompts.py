"""Prompts come from where they are said to be, stay on their side of the split, and are refused in one sentence."""

import json
import sys
from types import SimpleNamespace

import pytest

from games.prompts import prompts, split


def test_the_shipped_prompts_are_short_and_all_different():
    found = prompts(None)
    assert len(found) == len({text.lower() for text in found}) == 300
    assert max(len(text.split()) for text in found) <= 15
    assert all(text[0].isupper() and text[-1] in ".?" for text in found)


def test_a_text_file_has_one_a_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# not this one\n\n  Who are you?  \r\nWhy #2?\n", encoding="utf-8")
    assert prompts(str(path)) == ["Who are you?", "Why #2?"]


def test_json_lines_have_prompts_or_chats(tmp_path):
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    rows = [{"prompt": " Why? "}, {"messages": chat}, {"prompt": [*chat, {"role": "user", "content": "And then?"}]}]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert prompts(str(path)) == ["Why?", "Hello?", "Hello?"]


def test_a_saved_dataset_gives_its_training_split(tmp_path, monkeypatch):
    read = {"test": [{"prompt": "no"}], "train": [{"prompt": "yes"}]}
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_from_disk=lambda path: read))
    assert prompts(str(tmp_path)) == ["yes"]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install datasets$"):
        prompts(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("no.txt", None, "there is no .*no.txt"),
        ("a.txt", "# nothing\n", "there are no prompts in"),
        ("a.jsonl", "", "there are no prompts in"),
        ("a.csv", "prompt", "must be null, a .txt, a .jsonl or a folder"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt"\n', "line 2, is no JSON"),
        ("a.jsonl", '{"text": "x"}', "line 1, has neither the key prompt nor messages, but text"),
        ("a.jsonl", '\n["x"]', "line 2, has neither the key prompt nor messages, but no keys"),
        ("a.jsonl", '{"prompt": 5}', "line 1, has no text in its prompt"),
        ("a.jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}', "no message of the user's"),
    ],
)
def test_what_has_no_prompts_is_refused(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"^game.prompts[^\n]*{says}"):
        prompts(str(tmp_path / name))


def test_a_prompt_stays_on_its_side_of_the_split():
    every = prompts(None)
    training, held = split(every, 0.2)
    assert sorted(training + held) == sorted(every)
    assert 45 <= len(held) <= 75  # 60 are expected, with a deviation of 7
    assert split(every[::-3], 0.2)[1] == [text for text in every[::-3] if text in set(held)]
    assert set(held) <= set(split(every, 0.4)[1])
    assert split(every, 0.0) == (every, [])
    assert split(every, 1.0) == ([], every)
