"""Prompts are read from files, stay on their side of the split, and are refused with one sentence."""

import json
import sys
from types import SimpleNamespace

import pytest

from games.preference.game import PromptGame
from games.preference.prompts import read_prompts, split_prompts
from marl_engine.errors import Refused
from marl_engine.policies.language.chats import question, transcript

SYSTEM = {"role": "system", "content": "Be kind."}
HELLO = {"role": "user", "content": "Hello?"}
HI = {"role": "assistant", "content": "Hi."}
MORE = {"role": "user", "content": "And then?"}


def texts(*arguments):
    """Returns the prompts of a source as texts."""
    return [transcript(chat) for chat in read_prompts(*arguments)]


def test_the_built_in_prompts_are_short_and_distinct():
    result = texts(None)
    assert len(result) == len({text.lower() for text in result}) == 300
    assert max(len(text.split()) for text in result) <= 15
    assert all(text[0].isupper() and text[-1] in ".?" for text in result)


@pytest.mark.parametrize("name", ["mine.txt", "MINE.TXT"])
def test_a_text_file_has_one_prompt_in_each_line(tmp_path, name):
    path = tmp_path / name
    path.write_text("\ufeff# not this one\n\n  Who are you?  \r\nWhy #2?\n", encoding="utf-8")
    assert read_prompts(str(path)) == [question("Who are you?"), question("Why #2?")]


CHATS = [
    (" Why? ", [question("Why?")[0]]),
    ([HELLO], [HELLO]),
    ([SYSTEM, HELLO], [SYSTEM, HELLO]),
    ([SYSTEM, HELLO, HI, MORE], [SYSTEM, HELLO, HI, MORE]),
    ([HELLO, HI], [HELLO]),  # what somebody else answered is not asked
    ([HELLO, HI, MORE, HI], [HELLO, HI, MORE]),
    ([{"role": "developer", "content": "Be kind."}, HELLO], [SYSTEM, HELLO]),
    ([{"role": "system", "content": " "}, HELLO], [HELLO]),
    ([{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}], [HELLO]),
    ([{"role": "user", "content": ["Hello", {"type": "text", "text": "you?"}]}], question("Hello\nyou?")),
]


@pytest.mark.parametrize(("records", "chat"), CHATS)
@pytest.mark.parametrize("column", ["prompt", "messages", "dialogue"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_texts_and_chats_are_read_from_files_of_rows(tmp_path, records, chat, column, ending):
    path, rows = tmp_path / f"mine.{ending}", [{"id": 5, column: records}]
    if ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif ending == "json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        mixed = isinstance(records, list) and "Hello" in records[0]["content"]
        write_parquet(path, [{"id": 5, column: chat}] if mixed else rows)  # its columns have one type
    assert read_prompts(str(path), column if column == "dialogue" else None) == [chat]


def write_parquet(path, rows):
    """Writes a Parquet file as on the hubs of data sets."""
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist(rows), path)


def test_json_may_be_a_list_of_texts_or_lines_under_that_name(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('["Why?", "How?"]')
    assert texts(str(path)) == ["Why?", "How?"]
    path.write_text('{"prompt": "Why?"}\n{"prompt": "How?"}\n')
    assert texts(str(path)) == ["Why?", "How?"]


@pytest.mark.parametrize("divider", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_has_a_column_of_prompts(tmp_path, divider, mark):
    path = tmp_path / "mine.csv"
    lines = [f"id{divider}question", f'1{divider}"Why,; or\t""how""?"', "", f'2{divider}"Two\nlines?"']
    path.write_text(mark + "\r\n".join(lines), encoding="utf-8", newline="")
    assert texts(str(path), "question") == ['Why,; or\t"how"?', "Two\nlines?"]
    with pytest.raises(
        Refused, match=r"row 1, has none of the columns prompt and messages: its columns are .*question"
    ):
        read_prompts(str(path))


def test_earlier_messages_are_in_the_text_of_a_chat():
    assert transcript([HELLO]) == "Hello?"
    assert (
        transcript([SYSTEM, HELLO, HI, MORE]) == "System: Be kind.\n\nUser: Hello?\n\nAssistant: Hi.\n\nUser: And then?"
    )


def test_models_get_chats_and_judges_get_texts(tmp_path):
    path, judge = (
        tmp_path / "mine.jsonl",
        {"_target_": "games.preference.judges.RaterJudge", "raters": [{"length": 1.0}]},
    )
    chats = [[SYSTEM, {"role": "user", "content": f"Why {number}?"}] for number in range(30)]
    path.write_text("\n".join(json.dumps({"dialogue": chat}) for chat in chats))
    game = PromptGame(judge, str(path), column="dialogue")
    assert sorted(game.texts) == sorted(map(transcript, chats))
    assert game.texts == [transcript(chat) for chat in game.chats]
    assert [chats[place - 1] for place in game.places] == game.chats
    assert split_prompts([transcript(chat) for chat in chats]) == (
        game.texts[: game.train_prompts],
        game.texts[game.train_prompts :],
    )


def test_a_saved_dataset_gives_its_training_split(tmp_path, monkeypatch):
    read = {"test": [{"prompt": "no"}], "train": [{"prompt": "yes"}]}
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_from_disk=lambda path: read))
    assert texts(str(tmp_path)) == ["yes"]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install datasets$"):
        read_prompts(str(tmp_path))


def test_the_missing_package_for_parquet_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(Refused, match=r"^game.prompts: .*a.parquet cannot be read"):
        read_prompts(str(tmp_path / "a.parquet"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Refused, match=r"^game.prompts: to read .*a.parquet: pip install pyarrow$"):
        read_prompts(str(tmp_path / "a.parquet"))


def message(**keys):
    """Returns a line of a file with a chat of one message, by default of the user."""
    return json.dumps({"messages": [{"role": "user", "content": "x"} | keys]})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("no.txt", None, "there is no .*no.txt"),
        ("a.txt", "# nothing\n", "there are no prompts in"),
        ("a.jsonl", "", "there are no prompts in"),
        ("a.json", "[]", "there are no prompts in"),
        ("a.csv", "prompt\n", "there are no prompts in"),
        ("a.csv", "", "there are no prompts in"),
        ("a.doc", "prompt", r"must be a .txt, .jsonl, .json, .csv, .parquet file or a folder"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt"\n', "line 2, is no JSON"),
        ("a.json", '{"prompt": ["x"]}', "must be a list of rows"),
        ("a.json", '[{"prompt": "x"},]', "a.json is no JSON"),
        ("a.jsonl", '{"text": "x"}', "line 1, has none of the columns prompt and messages: its columns are text"),
        ("a.jsonl", '\n["x"]', "line 2, has none of the columns .*: it has no columns"),
        ("a.csv", "id,prompt\n1,a, b", "row 1, has more cells than there are names; quote texts"),
        ("a.csv", 'prompt\n"open', "cannot be read: unexpected end of data"),
        ("a.jsonl", '{"prompt": 5}', "line 1, prompt, must be a text or a list of messages, not int"),
        ("a.jsonl", '{"prompt": null}', "line 1, prompt, must be a text or a list of messages, not NoneType"),
        ("a.jsonl", '{"prompt": " "}', "line 1, prompt, has no text"),
        ("a.jsonl", r'{"prompt": "\ud800"}', "line 1, prompt, has half a sign in it"),
        ("a.jsonl", '{"messages": ["x"]}', "message 1, must have a role and a content"),
        ("a.jsonl", message(role="assistant"), "no message of the user's at the end"),
        ("a.jsonl", message(role="system"), "no message of the user's at the end"),
        ("a.jsonl", message(content=""), "has no text"),
        ("a.jsonl", message(role="tool"), "message 1, has the role 'tool'; only system, user, assistant can be asked"),
        ("a.jsonl", message(role=["user"]), r"message 1, has the role .*user"),
        ("a.jsonl", message(content=None), "message 1, has content that is no text"),
        (
            "a.jsonl",
            message(content=[{"type": "image_url", "image_url": {}}]),
            "message 1, has content that is no text",
        ),
    ],
)
def test_files_without_prompts_are_refused(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(Refused, match=rf"^game.prompts[^\n]*{says}"):
        read_prompts(str(tmp_path / name))


def test_an_unknown_column_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "x", "question": "y"}')
    with pytest.raises(
        Refused, match=r"line 1, has no column questions: its columns are question, prompt; game.column"
    ):
        read_prompts(str(tmp_path / "a.jsonl"), "questions")
    with pytest.raises(Refused, match="has no column questions: it has no columns"):
        read_prompts(None, "questions")


def test_a_prompt_stays_on_its_side_of_the_split():
    lines = texts(None)
    training, held_out = split_prompts(lines, 0.2)
    assert sorted(training + held_out) == sorted(lines)
    assert 45 <= len(held_out) <= 75  # 60 are expected, with a deviation of 7
    assert split_prompts(lines[::-3], 0.2)[1] == [text for text in lines[::-3] if text in set(held_out)]
    assert set(held_out) <= set(split_prompts(lines, 0.4)[1])
    assert split_prompts(lines, 0.0) == (lines, [])
    assert split_prompts(lines, 1.0) == ([], lines)
