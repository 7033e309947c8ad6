"""marl-ask and marl-export use only the checkpoints of a run, and agree with transformers and peft."""

import io
import json
import sys
from configparser import ConfigParser
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runs import CommandResult, marl_train
from toy_model import build_model, written_prompts

from marl_engine.commands.ask import main as marl_ask
from marl_engine.commands.export import main as marl_export
from marl_engine.commands.tournament import main as marl_tournament
from marl_engine.policies.language import backbone

KINDS = ("llama", "gpt2", "whole")  # the last learns all weights
QUESTIONS = ["who is the cat ?", "why ?", "tell me about your friend and my enemy ?"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Without a hub, and without models loaded earlier."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(backbone, "BACKBONES", {})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run of each kind of model, with checkpoints 2 to 4, and a run of a table."""
    home = tmp_path_factory.mktemp("home")
    prompts = written_prompts(home / "prompts.txt")
    common = [
        *("game=preference/sentiment", "policy=language", "solver=nash_md", "threads=1", "policy.length=8"),
        *("game.judge.raters=[{variety:1.0},{plain:1.0}]", f"game.prompts={prompts}", "game.held_out=0.3"),
        *("responder.prompts=3", "responder.answers=2", "responder.opponents=1", "responder.learning_rate=0.05"),
        *("iterations=4", "evaluate_every=2", "save_every=1", "episodes=4"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        for kind in KINDS:
            patch.setattr(backbone, "BACKBONES", {})
            model = build_model(home / kind, kind="gpt2" if kind == "gpt2" else "llama", chat=kind != "gpt2")
            rank = 0 if kind == "whole" else 2
            done = marl_train(home, *common, f"policy.model={model}", f"policy.rank={rank}", f"run={kind}")
            assert done.code == 0, done
    assert marl_train(home, "game=matrix", "solver=hedge", "iterations=1", "run=table").code == 0
    return home


def run_in(home, main, *arguments, words=""):
    """Runs a command in this process and in a folder, with the given input."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(home)
        patch.setattr(sys, "argv", ["marl", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(words))
        with pytest.raises(SystemExit) as end:
            main()
    return CommandResult(end.value.code, out.getvalue(), err.getvalue())


def by_transformers(model, tokenizer, question, length=8):
    """Returns the greedy answer of a model of transformers."""
    text = question
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    tokens = tokenizer(text, add_special_tokens=not tokenizer.chat_template, return_tensors="pt").input_ids
    full = model.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=length)
    return tokenizer.decode(full[0, tokens.shape[1] :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_computes_what_the_adapter_does_on_its_base(home, tmp_path, kind):
    """Its greedy answers are also those that transformers generates."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name, keys in (("merged", ["merge=true"]), ("plain", [])):
        done = run_in(home, marl_export, f"runs/{kind}", f"out={tmp_path / name}", *keys)
        assert (done.code, done.err) == (0, ""), done
    merged, base = (AutoModelForCausalLM.from_pretrained(place) for place in (tmp_path / "merged", home / kind))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    output = run_in(home, marl_ask, f"runs/{kind}", *QUESTIONS, "greedy=true", "reference=true")
    assert (output.code, output.err) == (0, "")
    answers = [f"\n{each}\n  before: {{}}\n  after: {{}}" for each in QUESTIONS]
    expected = [
        text.format(*(by_transformers(model, tokenizer, each).rstrip() for model in (base, merged)))
        for text, each in zip(answers, QUESTIONS, strict=True)
    ]
    assert output.out == f"runs/{kind}, iteration 4\n" + "\n".join(expected) + "\n"
    tokens = torch.tensor([[7, 8, 9, 30]])
    before, logits = base(tokens).logits.detach(), merged(tokens).logits
    if kind == "whole":
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    else:
        plain = PeftModel.from_pretrained(base, tmp_path / "plain")
        assert not (tmp_path / "merged/adapter_config.json").exists()
    torch.testing.assert_close(plain(tokens).logits, logits, atol=1e-4, rtol=1e-4)
    assert float((logits.detach() - before).abs().max()) > 0.01


def test_a_checkpoint_is_chosen(home, tmp_path):
    """`best` and `last` are the adapters that the run saved."""
    weights = {}
    for name in ("last", "best", "4", "3", "2"):
        done = run_in(home, marl_export, "runs/llama", f"out={tmp_path / name}", f"checkpoint={name}")
        assert done.code == 0, done
        weights[name] = (tmp_path / name / "adapter_model.safetensors").read_bytes()
    adapter = home / "runs/llama/adapter"
    assert weights["last"] == weights["4"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert weights["best"] == (adapter / "best/adapter_model.safetensors").read_bytes()
    assert len({weights["2"], weights["3"], weights["4"]}) == 3
    assert "the adapter of runs/llama, iteration 3\nload    PeftModel.from_pretrained(" in (
        run_in(home, marl_export, "runs/llama", f"out={tmp_path / 'again'}", "checkpoint=3").out
    )


def test_an_answer_depends_only_on_prompt_and_seed(home):
    def lines(*words, **keys):
        done = run_in(home, marl_ask, "runs/llama", *words, **keys)
        assert (done.code, done.err) == (0, ""), done
        return done.out.splitlines()[2:]

    alone, three = lines(QUESTIONS[0]), lines(*QUESTIONS)
    assert three[:2] == alone
    assert three[3] == QUESTIONS[1]
    assert lines(words="\n".join(["", *QUESTIONS, ""])) == three
    assert lines("--", *QUESTIONS) == lines(QUESTIONS[0], "--", *QUESTIONS[1:]) == three
    several = lines(QUESTIONS[0], "samples=40")
    assert len(several) == 41
    assert len(set(several)) > 20
    assert lines(QUESTIONS[0], "seed=1") != alone
    assert len(lines(QUESTIONS[0], "length=1", "samples=9")[1].split()) <= 1
    cold = lines(QUESTIONS[0], "temperature=0.01", "samples=3")
    assert cold[1:] == 3 * lines(QUESTIONS[0], "greedy=true")[1:]


def test_questions_and_answers_are_printed_verbatim(home):
    done = run_in(home, marl_ask, "runs/llama", "--", "[bold]x=2[/INST] $a$", "a=b")
    assert done.out.splitlines()[2:5:3] + done.out.splitlines()[5:6] == ["[bold]x=2[/INST] $a$", "a=b"]


@pytest.mark.parametrize(
    ("main", "words", "says"),
    [
        (marl_ask, [], "say which run"),
        (marl_ask, ["runs/no", "Why?"], "there is no run at 'runs/no'; choose from"),
        (marl_ask, ["runs/llama"], "ask something"),
        (marl_ask, ["runs/llama", "why ?", "tempo=1"], "there is no key tempo; choose from temperature"),
        (marl_ask, ["runs/llama", "why ?", "samples=0"], "samples must be a whole number of 1 or more, not 0"),
        (marl_ask, ["runs/llama", "why ?", "samples=some"], "samples='some': input should be a valid integer"),
        (marl_ask, ["runs/llama", "why ?", "temperature=0"], "policy.temperature must be a finite number above 0"),
        (marl_ask, ["runs/llama", "why ?", "greedy=true", "samples=2"], "greedy=true has one answer"),
        (marl_ask, ["runs/llama", "why ?", "device=tpu"], "device must be one of cpu, cuda"),
        (marl_ask, ["runs/llama", "why ?", "-v"], "there is no flag -v"),
        (
            marl_ask,
            ["runs/llama", "why ?", " ".join(60 * ["very"])],
            "question 2 has 63 tokens and an answer has up to 8",
        ),
        (
            marl_ask,
            ["runs/llama", "why ?", "checkpoint=1"],
            "runs/llama has no checkpoint=1; choose from 2, 3, 4, best, last",
        ),
        (marl_ask, ["runs/table", "why ?"], "runs/table has trained no language model; name a run of policy=language"),
        (marl_export, [], "say which run, one and not 0"),
        (marl_export, ["runs/llama"], "say where to: out=FOLDER"),
        (marl_export, ["runs/llama", "runs/gpt2", "out=x"], "say which run, one and not 2"),
        (marl_export, ["runs/llama", "out=llama"], "llama exists; choose another out="),
        (marl_export, ["runs/llama", "out=x", "marge=true"], "there is no key marge; choose from merge"),
        (marl_export, ["runs/llama", "out=prompts.txt/x"], "Not a directory"),
        (marl_export, ["runs/table", "out=x"], "runs/table has trained no language model"),
        (marl_export, ["runs/no", "out=x"], "there is no run at 'runs/no'"),
        (marl_export, ["runs/llama", "out=x", "--merge"], "there is no flag --merge"),
    ],
)
def test_invalid_requests_are_refused_and_no_files_are_written(home, main, words, says):
    before = sorted(home.iterdir())
    done = run_in(home, main, *words)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    assert says in done.err
    assert sorted(home.iterdir()) == before


def test_every_command_says_what_it_does(home):
    """All commands in setup.cfg have a help text."""
    config = ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    commands = dict(line.split(" = ") for line in config["options.entry_points"]["console_scripts"].split("\n") if line)
    assert {"marl-train", "marl-plot", "marl-ask", "marl-export"} <= commands.keys()
    for name, place in commands.items():
        module, _, function = place.partition(":")
        if name != "marl-train":  # whose help is Hydra's
            done = run_in(home, getattr(import_module(module), function), "--help")
            assert (done.code, done.err) == (0, "")
            assert done.out.startswith(f"{name}: ")
            assert "Exit codes" in done.out


def test_language_models_meet_in_a_tournament(home):
    """An exported adapter answers as its run does, so both have the same payoffs, and none against each other."""
    assert run_in(home, marl_export, "runs/llama", "out=adapter", "checkpoint=best").code == 0
    words = ("runs/llama", "adapter", "reference", "games=24", "run=cup")
    assert run_in(home, marl_tournament, *words).code == 0
    report = json.loads((home / "runs/cup/tournament.json").read_text())
    names = [each["name"] for each in report["entrants"]]
    run, adapter, reference = map(names.index, ("llama", "adapter", "reference"))
    payoff = np.array(report["tables"]["payoff"], float)
    np.testing.assert_allclose(np.nan_to_num(payoff + payoff.T), 0, atol=1e-12)
    assert payoff[run, adapter] == pytest.approx(0)
    assert payoff[run, reference] == payoff[adapter, reference] != 0
    assert report["games"] == 72


def test_entrants_that_are_no_language_models_are_refused(home):
    done = run_in(home, marl_tournament, "runs/llama", "random")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "in a game of answers choose from reference, or write runs/NAME, or the folder of an adapter" in done.err
    done = run_in(home, marl_tournament, "reference", "adapter", "game=preference/sentiment")
    assert done.code == 2
    assert "reference needs a run beside it, whose model it has" in done.err
