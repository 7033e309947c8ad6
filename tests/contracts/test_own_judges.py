"""A user's judge that favours a position is refused with an example; the costs of judges are reported."""

import json
from dataclasses import fields
from importlib.resources import files

import numpy as np
import pytest
import torch
from chat_server import Stub
from command_runs import marl_train
from omegaconf import OmegaConf
from toy_model import build_model, written_prompts

from games.preference.game import PromptGame
from games.preference.judges.raters import RaterJudge, check_antisymmetry
from marl_engine.configuration import class_of
from marl_engine.errors import Halted, Refused
from marl_engine.evaluation.win_rate import Sample, samples_markdown
from marl_engine.policies.language import backbone
from marl_engine.responders.preference.queries import check_chances

PAIRS = [f"question {n}" for n in range(32)], [f"one {n}" for n in range(32)], ["other"] * 32


class Fair:
    """Likes the longer answer two times in three."""

    def __init__(self):
        self.questions = 0

    def prefers(self, prompts, firsts, seconds):
        self.questions += len(prompts)
        return [0.5 + np.sign(len(one) - len(other)) / 6 for one, other in zip(firsts, seconds, strict=True)]


class Declared(Fair):
    """The same, declared antisymmetric."""

    antisymmetric = True


class Flattered:
    """Likes the first answer."""

    def prefers(self, prompts, firsts, seconds):
        return [0.9] * len(prompts)


class Coin:
    """Prefers the first answer with a fixed probability, at random."""

    def __init__(self, chance):
        self.chance, self.generator = chance, np.random.default_rng(0)

    def prefers(self, prompts, firsts, seconds):
        return (self.generator.random(len(prompts)) < self.chance).astype(float)


class Own(PromptGame):
    """A game with a given judge."""

    def __init__(self, judge):
        super().__init__(judge={"_target_": "games.preference.judges.RaterJudge"})
        self.judges, self.antisymmetric = judge, getattr(judge, "antisymmetric", False)


@pytest.mark.parametrize("judge", [Fair(), Coin(0.5), RaterJudge([{"length": 1.0}])])
def test_a_judge_without_a_favourite_place_passes(judge):
    check_antisymmetry(judge, *PAIRS)


@pytest.mark.parametrize("chance", [0.9, 0.1, 1.0])
def test_position_bias_of_a_random_judge_is_detected(chance):
    with pytest.raises(Refused, match=r"^game.judge: Coin favours a place"):
        check_antisymmetry(Coin(chance), *PAIRS)


def test_position_bias_is_reported_with_a_pair_and_both_preferences():
    says = (
        r"^game.judge: Flattered favours a place: to 'question 0' it prefers 'one 0' to 'other' with a chance of 0.9, "
        r"and in the other order the latter with 0.9; both must add up to 1"
    )
    with pytest.raises(Refused, match=says):
        check_antisymmetry(Flattered(), *PAIRS)


def test_an_undeclared_judge_is_tested_once_on_its_first_comparisons():
    for judge, questions in ((Fair(), 3 * 32 + 40), (Declared(), 40)):
        game = Own(judge)
        game.prefers(torch.arange(40), ["a"] * 40, ["bc"] * 40)
        assert judge.questions == questions
        game.prefers(torch.arange(5), ["a"] * 5, ["bc"] * 5)
        assert judge.questions == questions + 5


@pytest.mark.parametrize(
    ("chances", "says"),
    [
        ([0.5, float("nan")], "gave nan for the one at 1"),
        ([1.5, 0.5], "gave 1.5 for the one at 0"),
        ([0.5], r"gave an array of shape \(1,\)"),
        ([0.5, None], "gave nan for the one at 1"),
        (["A", "B"], "gave what are no numbers"),
        ({"a": 1}, "gave what are no numbers"),
    ],
)
def test_invalid_probabilities_are_refused(chances, says):
    with pytest.raises(
        Halted, match=rf"^the judge must give a chance between 0 and 1 for each of 2 comparisons.*{says}"
    ):
        check_chances(chances, 2)


@pytest.mark.parametrize("preset", ["sentiment", "conflict", "learned", "endpoint"])
def test_every_key_of_a_judge_is_in_its_preset(preset):
    """Otherwise the command line would refuse keys that messages mention."""
    judge = OmegaConf.load(files("configs") / "game" / "preference" / f"{preset}.yaml").game.judge
    names = {field.name for field in fields(class_of(judge.pop("_target_"))) if field.init}
    assert set(judge) == names


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Returns the arguments of a small run with a model of fifty words."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(backbone, "BACKBONES", {})
    sizes = ("policy.rank=2", "policy.length=3", "responder.prompts=2", "responder.answers=2", "responder.opponents=1")
    prompts = written_prompts(tmp_path / "prompts.txt")
    return [
        *(
            f"policy.model={build_model(tmp_path / 'model')}",
            f"game.prompts={prompts}",
            "game.held_out=0.3",
            "threads=1",
        ),
        *(*sizes, "episodes=6", "save_every=1", "evaluate_every=9", "solver=nash_md", "policy=language"),
    ]


def test_a_judge_with_position_bias_is_refused_and_leaves_no_files(arguments, tmp_path):
    own = ["game=preference/sentiment", "game.judge._target_=test_own_judges.Flattered"]
    done = marl_train(tmp_path, *own, *arguments, "run=x", "iterations=1")
    assert (done.code, len(done.err.splitlines())) == (2, 1), done
    assert "Flattered favours a place" in done.err
    assert not (tmp_path / "runs/x").exists()


def test_what_an_endpoint_cost_is_in_the_summary_the_last_evaluation_and_earlier_sessions_too(
    arguments, tmp_path, monkeypatch
):
    server = Stub()
    server.say = lambda text: (200, "A" if len(text) % 2 else "B")
    paid = [f"game.judge.url={server.url}", "game.judge.input_price=1", "game.judge.cache=null"]
    free = [
        "game.judge.options.max_tokens=null",
        "game.judge.options.top_p=0.9",
        "game.judge.unreadable=0.2",
        "game.judge.wait=0.1",
    ]
    try:
        (tmp_path / "mine.txt").write_text("{prompt}|{first}|{second}")
        keys = ("game=preference/endpoint", *paid, *free, *arguments, "game.judge.template=mine.txt")
        assert marl_train(tmp_path, *keys, "run=x", "iterations=1").code == 0
        one = json.loads((tmp_path / "runs/x/summary.json").read_text())
        assert one["judge/requests"] == len(server.requests) > 0
        assert one["judge/cost"] == pytest.approx(len(server.requests) * 100 / 1e6)
        assert set(server.requests[0][1]) == {"model", "messages", "temperature", "top_p"}
        monkeypatch.setattr(backbone, "BACKBONES", {})
        (tmp_path / "mine.txt").unlink()  # a run goes on with what it began with
        assert marl_train(tmp_path, "resume=runs/x", "iterations=2").code == 0
        assert {body["messages"][0]["content"].count("|") for _, body in server.requests} == {2}
        both = json.loads((tmp_path / "runs/x/summary.json").read_text())
        assert one["judge/requests"] < both["judge/requests"] <= len(server.requests)
    finally:
        server.close()


def test_endpoint_errors_are_shown_literally(arguments, tmp_path):
    server, words = Stub(), "model [/INST] has [nan nan] and [bold]no[/bold] 'max_tokens' \\[x]"
    server.say = lambda text: (400, {"error": {"message": words}})
    try:
        keys = ("game=preference/endpoint", f"game.judge.url={server.url}", *arguments)
        done = marl_train(tmp_path, *keys, "run=x", "iterations=1")
    finally:
        server.close()
    assert (done.code, done.err) == (1, ""), done
    assert f"refused the question: 400 Bad Request: {words}" in done.out


def test_a_chat_is_quoted_message_by_message():
    samples = [Sample("System: Be kind.\n\nUser: Why?", "So.", "No.", 1.0)]
    assert "**System: Be kind.**\n\n**User: Why?**\n\nbefore: No." in samples_markdown(samples)
