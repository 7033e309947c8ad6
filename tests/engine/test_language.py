"""Language models as policies agree with transformers and peft, and references stay fixed."""

import json
from itertools import islice, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_runs import assert_same_checkpoint, assert_same_run, await_that, checkpoints, marl_train, start_command
from toy_model import PROMPTS, WORDS, build_model, written_prompts

from games.preference.game import PromptGame
from marl_engine.configuration import declared_types
from marl_engine.errors import Halted
from marl_engine.evaluation import win_rate
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.language import backbone
from marl_engine.policies.language.backbone import Backbone
from marl_engine.policies.language.generation import GeometricMixture, complete, generate
from marl_engine.policies.language.transformer import TransformerSpec
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.responders.preference.responder import PreferenceResponder
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.requirements import check_parts
from marl_engine.types import Opponents
from solvers.mirror_descent.nash_md import NashMD

pytestmark = pytest.mark.usefixtures("offline")
JUDGE = {"_target_": "games.preference.judges.RaterJudge", "raters": [{"variety": 1.0}, {"plain": 1.0}]}
NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Folders of models: with a chat template, without one, with few words, with other sizes."""
    home = tmp_path_factory.mktemp("models")
    chat, few = build_model(home / "chat"), build_model(home / "few", words=5, chat=False)
    return {
        "chat": chat,
        "plain": build_model(home / "plain", chat=False),
        "few": few,
        "wide": build_model(home / "wide", hidden=48),
        "gpt2": build_model(home / "gpt2", kind="gpt2"),
    }


@pytest.fixture(scope="module")
def game(tmp_path_factory):
    return PromptGame(JUDGE, str(written_prompts(tmp_path_factory.mktemp("game") / "prompts.txt")), held_out=0.3)


@pytest.fixture
def make(homes, game, monkeypatch):
    """Makes policies with perturbed weights on a backbone of their own."""
    monkeypatch.setattr(backbone, "BACKBONES", {})

    def making(name="chat", perturbation=0.3, seed=0, texts=None, **keys):
        torch.manual_seed(seed)
        maker = TransformerSpec(**{"model": str(homes[name]), "rank": 4, "alpha": 8, "length": 6} | keys)
        policy = maker.profile(SimpleNamespace(chats=texts or game.chats, players=2))[0]
        with torch.no_grad():
            for each in policy.trainable:
                each.add_(perturbation * torch.randn(each.shape, generator=torch.Generator().manual_seed(seed)) / 4)
        return policy

    return making


def prompt_rows(policy, numbers, each=1):
    """Returns rows of prompts, each prompt `each` times."""
    return policy.encode(
        torch.tensor(numbers).repeat_interleave(each)[:, None], torch.zeros(len(numbers) * each).long()
    )


def plainly(home, adapter=None):
    """Loads a model and its tokenizer with transformers and peft alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(home)
    return (
        model if adapter is None else PeftModel.from_pretrained(model, adapter)
    ).eval(), AutoTokenizer.from_pretrained(home)


def question(tokenizer, prompt):
    """Returns the tokens of a prompt in the format of the model."""
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": prompt}]
        return tokenizer(
            tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), add_special_tokens=False
        ).input_ids
    return tokenizer(prompt).input_ids


@torch.no_grad()
def one_by_one(model, tokenizer, prompt, tokens, temperature):
    """Returns log-probabilities (L,) of an answer, without batch, padding and cache."""
    before = question(tokenizer, prompt)
    logits = model(torch.tensor([[*before, *tokens.tolist()]]), use_cache=False).logits[0, len(before) - 1 : -1]
    return (logits / temperature).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", ["chat", "plain", "gpt2"])
def test_log_probabilities_are_those_of_transformers_and_peft(make, homes, tmp_path, name, temperature):
    """Without cache, batch and padding, from the saved adapter."""
    texts = ["why ?", "how is the cat ?", "where are you and we and they ?"]  # of different lengths
    policy = make(name, texts=texts, temperature=temperature)
    rows = prompt_rows(policy, [0, 1, 2], each=4)
    completions = generate(policy, rows, derive_seeds(0, 12))
    policy.save(tmp_path / "adapter")
    model, tokenizer = plainly(homes[name], tmp_path / "adapter")
    result = policy.log_probs(rows, completions.tokens)
    for place in range(12):
        there = completions.mask[place]
        expected = one_by_one(model, tokenizer, texts[place // 4], completions.tokens[place, there], temperature)
        torch.testing.assert_close(completions.log_prob[place, there], expected, **NEAR)
        torch.testing.assert_close(result[place, there].detach(), expected, **NEAR)
    assert (
        completions.texts[0]
        == tokenizer.decode(completions.tokens[0, completions.mask[0]], skip_special_tokens=True).strip()
    )
    begins = policy.opening + rows[2 * 4][rows[2 * 4] >= 0].tolist()
    assert begins == question(tokenizer, texts[2])
    assert len(policy.opening) == 1  # which both kinds of texts begin with
    assert (tokenizer.decode(begins).count("<s>"), tokenizer.decode(begins).count("<bot>")) == (
        (1, 0) if name == "plain" else (0, 1)
    )


def test_answers_are_independent_of_their_batch(make):
    policy = make(texts=["why ?", "tell me about your friend and my enemy ?"])
    seeds = derive_seeds(5, 2)
    both, alone = (complete(policy, torch.tensor(each), seeds[: len(each)]) for each in ([0, 1], [0]))
    assert both.texts[0] == alone.texts[0]
    length = alone.tokens.shape[1]
    torch.testing.assert_close(both.log_prob[0, :length], alone.log_prob[0], **NEAR)
    assert both.rows.shape[1] > alone.rows.shape[1]


def test_answers_are_drawn_from_the_distribution_that_is_scored(make):
    """At temperature 0.7 the scores of all answers of up to two tokens have mean zero; with another temperature
    they do not.
    """
    policy = make("few", temperature=0.7, length=2)
    vocabulary, (end,) = policy.vocabulary, policy.ends
    long = [pair for pair in product(range(vocabulary), repeat=2) if pair[0] != end]
    tokens = torch.tensor([(end, 0), *long])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[0, 1] = False
    rows = prompt_rows(policy, [3], each=len(tokens))
    chances = (policy.log_probs(rows, tokens) * mask).sum(-1).exp().detach()
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5)
    slopes = []
    for temperature in (0.7, 1.0):
        policy.temperature = temperature
        full = (chances * (policy.log_probs(rows, tokens) * mask).sum(-1)).sum()
        slopes.append(max(float(each.abs().max()) for each in torch.autograd.grad(full, list(policy.trainable))))
    assert slopes[0] < 1e-5 < 1e-2 < slopes[1]
    policy.temperature, count = 0.7, 4000
    completions = generate(policy, prompt_rows(policy, [3], each=count), derive_seeds(0, count))
    result = torch.bincount(completions.tokens[:, 0], minlength=vocabulary) / count
    first = torch.zeros(vocabulary).index_add(0, tokens[:, 0], chances)
    assert ((result - first).abs() <= 4.5 * (first * (1 - first) / count).sqrt() + 1e-6).all()


def test_an_answer_ends_with_any_token_that_ends_one(make, homes):
    """That of the tokenizer, or those in the model's generation settings, which end a turn of a chat."""
    model, tokenizer = plainly(homes["few"])
    assert backbone.end_tokens(model, tokenizer) == make("few").ends == (2,)
    model.generation_config.eos_token_id = [5, 7, 2]
    assert backbone.end_tokens(model, tokenizer) == (2, 5, 7)
    policy = make("few", perturbation=0.0, length=12)
    policy.ends = (2, 5, 7)
    completions = generate(policy, prompt_rows(policy, [3], each=400), derive_seeds(0, 400))
    lengths = completions.mask.sum(-1)
    last = completions.tokens.gather(-1, lengths[:, None] - 1)[:, 0]
    assert set(last[lengths < 12].tolist()) == {2, 5, 7}
    before = completions.mask & (torch.arange(completions.mask.shape[1]) < lengths[:, None] - 1)
    assert not torch.isin(completions.tokens[before], torch.tensor(policy.ends)).any()


def test_gradients_are_those_of_a_plain_forward(make):
    """Through the cache of the prompt, which is computed once for all its answers."""
    policy = make(length=3)
    rows = prompt_rows(policy, [0, 4], each=3)
    tokens = generate(policy, rows, derive_seeds(0, 6)).tokens
    gradient = torch.autograd.grad(policy.log_probs(rows, tokens).sum(), list(policy.trainable))
    policy.backbone.activate_adapter(policy.trainable)
    total = 0
    for row, answer in zip(rows, tokens, strict=True):
        before = torch.cat([torch.tensor(policy.opening), row[row >= 0]])
        logits = policy.backbone.model(torch.cat([before, answer])[None], use_cache=False).logits[
            0, len(before) - 1 : -1
        ]
        total = total + logits.log_softmax(-1).gather(-1, answer[:, None]).sum()
    for first, plain in zip(gradient, torch.autograd.grad(total, list(policy.trainable)), strict=True):
        assert float((first - plain).norm()) < 1e-4 * float(plain.norm())


@pytest.mark.parametrize("name", ["chat", "gpt2"])
def test_gradient_checkpointing_has_the_same_gradient_and_keeps_less(make, name):
    """gpt2 has dropout in training mode, which must not be used."""
    slopes, bytes_kept = [], []
    for forgetful in (False, True):
        policy = make(name, gradient_checkpointing=forgetful)
        rows = prompt_rows(policy, [0, 4, 9], each=3)
        tokens = generate(policy, rows, derive_seeds(0, 9)).tokens
        sizes = []

        def record_size(tensor, sizes=sizes):
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(record_size, lambda tensor: tensor):
            scores = policy.log_probs(rows, tokens)
        gradients = torch.autograd.grad(scores.sum(), list(policy.trainable))
        slopes.append([scores.detach(), *gradients])
        bytes_kept.append(sum(sizes))
        assert not any(module.training for module in policy.backbone.model.modules())
    for one, other in zip(*slopes, strict=True):
        assert float((one - other).norm()) < 1e-4 * float(one.norm())
    assert bytes_kept[1] < bytes_kept[0] / 3


def test_writing_costs_one_forward_for_each_token_and_policy(make, monkeypatch):
    """For a mixture of two: the prompts once for each, then one token in each row."""
    one, calls, following = make(length=5), [], Backbone.compute_logits
    monkeypatch.setattr(
        Backbone,
        "compute_logits",
        lambda self, tokens, *rest, **keys: calls.append(tokens.shape) or following(self, tokens, *rest, **keys),
    )
    mixture = GeometricMixture(one, freeze([one])[0], 0.5)
    mixture.ends = ()  # nobody stops before the fifth token
    rows = prompt_rows(one, [0, 1], each=3)
    generate(mixture, rows, derive_seeds(0, 6))
    assert calls == [(1, len(one.opening)), (2, rows.shape[1])] * 2 + [(6, 1)] * 8


def test_the_reference_stands_still_and_is_the_model_without_adapters(make, game, homes):
    """The reference must not change with the policy (A9)."""
    policy = make(perturbation=0.0)
    solver, responder = NashMD(2.5, 0.05), PreferenceResponder(game, prompts=4, answers=2, learning_rate=0.05)
    rows, tokens = prompt_rows(policy, [0, 7], each=2), torch.randint(6, 20, (4, 3))
    before = policy.log_probs(rows, tokens).detach()
    for _ in islice(solver.solve([policy, policy], responder), 2):
        reference = solver.reference[0]
        assert torch.equal(reference.log_probs(rows, tokens), before)
        assert float((policy.log_probs(rows, tokens).detach() - before).abs().max()) > 1e-3
        policy.backbone.activate_adapter(policy.trainable)
        with policy.backbone.model.disable_adapter(), torch.no_grad():
            real = policy.backbone.compute_logits(rows.clamp(min=0), rows >= 0, policy.backbone.memory())
        reference.activate_adapter()
        again = policy.backbone.compute_logits(rows.clamp(min=0), rows >= 0, policy.backbone.memory())
        torch.testing.assert_close(real, again, **NEAR)
    model, tokenizer = plainly(homes["chat"])
    expected = one_by_one(model, tokenizer, game.texts[7], tokens[2], 1.0)
    torch.testing.assert_close(before[2], expected, **NEAR)


def test_a_copy_costs_as_much_as_its_adapters(make):
    policy = make()
    (copy,) = freeze([policy])
    assert copy.backbone is policy.backbone
    sizes = [sum(each.numel() for each in one.state_dict().values()) for one in (policy, copy)]
    body = sum(each.numel() for each in policy.backbone.model.parameters()) - sizes[0]
    assert sizes == [2 * 4 * sum((32 + 32) * 4 + (32 + 64) * 3 for _ in range(1))] * 2
    assert sizes[0] < body / 3
    assert not {each.data_ptr() for each in policy.trainable} & {each.data_ptr() for each in copy.trainable}


def test_all_weights_are_learned_with_rank_0_and_tied_ones_stay_tied(make, game, homes, tmp_path):
    policy = make(rank=0, perturbation=0.0)
    model, tokenizer = plainly(homes["chat"])
    assert sum(each.numel() for each in policy.trainable) == sum(each.numel() for each in model.parameters())
    (before,) = freeze([policy])
    next(NashMD(2.5, 0.05).solve([policy, policy], PreferenceResponder(game, prompts=4, learning_rate=0.01)))
    assert all(not torch.equal(one, two) for one, two in zip(policy.trainable, before.trainable, strict=True))
    policy.backbone.activate_adapter(policy.trainable)
    inner = policy.backbone.model
    assert inner.lm_head.weight is inner.model.embed_tokens.weight is policy.trainable[0]
    policy.save(tmp_path / "whole")
    rows, tokens = prompt_rows(policy, [0]), torch.tensor([[7, 8, 9]])
    expected = one_by_one(*plainly(tmp_path / "whole"), game.texts[0], tokens[0], 1.0)
    torch.testing.assert_close(policy.log_probs(rows, tokens)[0].detach(), expected, **NEAR)
    was = one_by_one(model, tokenizer, game.texts[0], tokens[0], 1.0)
    torch.testing.assert_close(before.log_probs(rows, tokens)[0], was, **NEAR)


def test_a_body_in_bfloat16_hears_its_adapters_as_one_in_float32_does(make):
    """Adapters stay float32 and are not merged: bfloat16 would round small ones away."""
    fine, coarse = make(perturbation=0.0), make(perturbation=0.0, dtype="bfloat16")
    assert {each.dtype for each in coarse.trainable} == {torch.float32}
    assert {layer.plain.dtype for layer in coarse.backbone.layers} == {torch.bfloat16}
    rows, tokens = prompt_rows(coarse, [0, 5], each=20), torch.randint(6, 20, (40, 3))
    start, end = [], []
    with torch.no_grad():
        for policy in (fine, coarse):
            start.append(policy.log_probs(rows, tokens))
            for layer in policy.backbone.layers:
                policy.trainable[layer.second].add_(0.01)
            end.append(policy.log_probs(rows, tokens))
    change = [(two - one).flatten() for one, two in zip(start, end, strict=True)]
    assert float(change[0] @ change[1]) > 0.9 * float(change[0].norm() * change[1].norm())
    assert not coarse.backbone.merge_adapters(coarse.trainable)
    completions = generate(coarse, rows, derive_seeds(0, 40))
    log_prob = coarse.log_probs(rows, completions.tokens) * completions.mask
    assert float((log_prob.detach() - completions.log_prob).abs().mean()) < 0.05
    slopes = torch.autograd.grad(log_prob.sum(), list(coarse.trainable))
    assert all(each.dtype == torch.float32 and each.abs().max() > 0 for each in slopes)


def test_a_policy_starts_from_a_saved_adapter(make, tmp_path):
    policy = make()
    policy.save(tmp_path / "adapter")
    other = make(adapter=str(tmp_path / "adapter"), perturbation=0.0, seed=1)
    rows, tokens = prompt_rows(policy, [0, 5]), torch.tensor([[7, 8, 9], [9, 8, 7]])
    torch.testing.assert_close(other.log_probs(rows, tokens), policy.log_probs(rows, tokens), **NEAR)
    assert all(each.requires_grad for each in other.trainable)


def test_a_second_policy_of_a_model_starts_where_the_first_did(make):
    """Not from what the first one has learned. Its adapters are a function of the seed."""
    rows, tokens = prompt_rows(make(perturbation=0.0), [0, 5]), torch.tensor([[7, 8, 9], [9, 8, 7]])
    first = make(perturbation=0.0, seed=3)
    begins, weights = first.log_probs(rows, tokens).detach(), [each.clone() for each in first.trainable]
    with torch.no_grad():
        for each in first.trainable:
            each.add_(0.1)
    first.log_probs(rows, tokens)
    second, third = make(perturbation=0.0, seed=3), make(perturbation=0.0, seed=4)
    torch.testing.assert_close(second.log_probs(rows, tokens).detach(), begins, **NEAR)
    assert all(torch.equal(one, two) for one, two in zip(second.trainable, weights, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(third.trainable, weights, strict=True))


def test_missing_files_are_refused(make, homes, tmp_path, game):
    make("wide", perturbation=0.0).save(tmp_path / "wide")
    (tmp_path / "none").mkdir()
    for keys, says in (
        ({"model": str(tmp_path / "no")}, "there is no model at policy.model="),
        ({"model": str(tmp_path / "no.gguf")}, "there is no file policy.model="),
        ({"model": str(tmp_path / "none")}, "policy.model=.*cannot be loaded"),
        ({"adapter": str(tmp_path / "no")}, "there is no adapter at policy.adapter="),
        ({"adapter": str(tmp_path / "wide")}, "policy.adapter=.*does not fit"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            TransformerSpec(**{"model": str(homes["chat"])} | keys).profile(game)
        assert "\n" not in str(refusal.value)
    for keys, says in (
        ({"rank": -1}, "policy.rank"),
        ({"length": 0}, "policy.length"),
        ({"temperature": 0.0}, "policy.temperature"),
        ({"dtype": "float16"}, "policy.dtype must be float32 or bfloat16"),
        ({"dtype": "bfloat16", "rank": 0}, "policy.dtype=bfloat16 needs an adapter"),
    ):
        with pytest.raises(ValueError, match=says):
            TransformerSpec(**keys)
    with pytest.raises(ValueError, match="object has no prompts in words: TransformerSpec needs `train_prompts`"):
        check_parts("TransformerSpec", declared_types(TransformerSpec.profile), game=object())


@pytest.mark.parametrize(
    ("layers", "says"), [(1, "14 of its matrices have no place in this one, and 0"), (3, "0 .* and 14")]
)
def test_an_adapter_of_a_deeper_or_flatter_model_is_refused(make, homes, tmp_path, game, layers, says):
    """All of its matrices fit, and peft only warns about missing ones."""
    make(perturbation=0.0).save(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    settings = json.loads(config.read_text())
    settings["target_modules"] = sorted(
        {name.rpartition(".")[2] for name in settings["target_modules"]}
    )  # as of large models
    config.write_text(json.dumps(settings))
    other = build_model(tmp_path / "other", layers=layers)
    with pytest.raises(ValueError, match=f"policy.adapter=.* is that of another model: {says} are missing"):
        TransformerSpec(str(other), adapter=str(tmp_path / "adapter")).profile(game)


@pytest.mark.parametrize("name", ["chat", "gpt2"])
def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(homes, game, tmp_path, monkeypatch, name):
    """With its number in the file, on either side of the split, also if the model would raise no error."""
    monkeypatch.setattr(backbone, "BACKBONES", {})
    path = tmp_path / "prompts.txt"
    for place in (3, 8):
        lines = ["# not a prompt", *PROMPTS[:8]]
        lines[place] = " ".join(["why", *["very"] * 40, f"{place} ?"])
        path.write_text("\n".join(lines))
        long = PromptGame(JUDGE, str(path), held_out=0.3)
        count = len(question(plainly(homes[name])[1], lines[place]))
        says = (
            rf"^game.prompts: prompt {place} has {count} tokens and an answer has up to {65 - count} \(policy.length\)"
        )
        with pytest.raises(ValueError, match=f"{says}, more than the 64 that this model reads: shorten one of them$"):
            TransformerSpec(str(homes[name]), rank=2, length=65 - count).profile(long)
        policy = TransformerSpec(str(homes[name]), rank=2, length=64 - count).profile(long)[0]
        policy.ends = ()
        completions = complete(policy, torch.tensor([long.places.index(place)]), derive_seeds(0, 1))
        assert completions.mask.sum() == 64 - count
    assert [game.places[number] for number in range(3)] == [1 + PROMPTS.index(text) for text in game.texts[:3]]


def test_a_model_that_reads_any_number_of_tokens_has_no_limit(homes):
    from transformers import BloomConfig

    model, _ = plainly(homes["chat"])
    assert backbone.max_positions(model) == 64
    model.config.max_position_embeddings = -1
    assert backbone.max_positions(model) is None
    assert backbone.max_positions(SimpleNamespace(config=BloomConfig())) is None


def test_saved_answers_are_refused_with_other_prompts(game, tmp_path, make):
    """Queues and offline answers refer to prompts by number."""
    policy = make()
    before = PreferenceResponder(game, prompts=4, answers=2)
    next(NashMD(2.5, 0.05).solve([policy, policy], before))
    state = get_state(before)
    after = PreferenceResponder(game, prompts=4, answers=2)
    after.prepare([policy, policy])
    set_state(after, state)
    assert after.work["queries"] == before.work["queries"] > 0
    lines = [text.replace("cat", "dog") for text in PROMPTS]
    (tmp_path / "others.txt").write_text("\n".join(lines))
    (tmp_path / "order.txt").write_text("\n".join(reversed(PROMPTS)))
    for name in ("others.txt", "order.txt"):
        other = PreferenceResponder(PromptGame(JUDGE, str(tmp_path / name), held_out=0.3), prompts=4, answers=2)
        with pytest.raises(ValueError, match=r"game.prompts have changed since the run was saved"):
            set_state(other, state)
        assert other.work["queries"] == 0


def test_missing_prompts_are_refused(tmp_path):
    (tmp_path / "few.txt").write_text("Why?\n")
    for prompts, fraction, says in (
        (tmp_path / "no.txt", 0.2, "there is no"),
        (tmp_path / "few.txt", 0.5, "are too few"),
        (None, 1.0, "game.held_out"),
    ):
        with pytest.raises(ValueError, match=says):
            PromptGame(JUDGE, prompts and str(prompts), fraction)


ROLES = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} </s> {% endfor %}<bot>"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + ROLES
SAID = [
    {"role": "system", "content": "it is very sad"},
    {"role": "user", "content": "who are you ?"},
    {"role": "assistant", "content": "a happy cat"},
    {"role": "user", "content": "and why ?"},
]


def test_chats_are_formatted_by_the_template(homes, monkeypatch):
    monkeypatch.setattr(backbone, "BACKBONES", {})
    body = backbone.get_backbone(str(homes["chat"]), 2, 4, None)
    monkeypatch.setattr(body.tokenizer, "chat_template", ROLES)
    chats = [SAID, [{"role": "user", "content": "why ?"}]]
    expected = [body.tokenizer.apply_chat_template(c, add_generation_prompt=True, return_dict=False) for c in chats]
    assert body.tokenize_prompts([SAID, "why ?"]) == expected
    assert body.tokenizer.decode(expected[0]).count("</s>") == 4


def test_a_model_without_a_template_reads_the_plain_text(homes, monkeypatch):
    monkeypatch.setattr(backbone, "BACKBONES", {})
    body = backbone.get_backbone(str(homes["plain"]), 2, 4, None)
    lines = ("System: it is very sad", "User: who are you ?", "Assistant: a happy cat", "User: and why ?", "Assistant:")
    assert body.tokenize_prompts([SAID, "why ?"]) == body.tokenizer(["\n\n".join(lines), "why ?"]).input_ids


def test_errors_of_a_chat_template_are_reported(homes, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone, "BACKBONES", {})
    home = build_model(tmp_path / "strict")
    tokenizer = plainly(home)[1]
    tokenizer.chat_template = NO_SYSTEM
    tokenizer.save_pretrained(home)
    maker = TransformerSpec(str(home), rank=2)
    maker.profile(SimpleNamespace(chats=[SAID[1:]], players=2))
    says = r"^game.prompts: the model's chat template refuses 'System: it is very sad .*': no system role$"
    with pytest.raises(ValueError, match=says):
        maker.profile(SimpleNamespace(chats=[SAID], players=2))


class Tiring:
    """Prefers the longer answer, and fails after a number of comparisons."""

    antisymmetric = True

    def __init__(self, patience=10**6):
        self.patience = patience

    def prefers(self, prompts, firsts, seconds):
        self.patience -= len(prompts)
        if self.patience < 0:
            raise Halted("the judge is tired")
        return [0.5 + 0.5 * np.sign(len(one) - len(other)) for one, other in zip(firsts, seconds, strict=True)]


@pytest.fixture(scope="module")
def arguments(homes, tmp_path_factory):
    """Returns the arguments of a small run."""
    prompts = written_prompts(tmp_path_factory.mktemp("run") / "prompts.txt")
    return [
        *(
            "game=preference/sentiment",
            f"policy.model={homes['chat']}",
            "policy.rank=2",
            "policy.length=4",
            "threads=1",
        ),
        *(
            "game.judge.raters=[{variety:1.0},{plain:1.0}]",
            f"game.prompts={prompts}",
            "game.held_out=0.3",
            "episodes=12",
        ),
        *(
            "responder.prompts=3",
            "responder.answers=2",
            "responder.opponents=1",
            "responder.learning_rate=0.05",
            "evaluate_every=2",
            "save_every=1",
        ),
    ]


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    """The folder of a run of 4 iterations of Nash-MD."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(backbone, "BACKBONES", {})
        done = marl_train(home, *arguments, "solver=nash_md", "policy=language", "run=x", "iterations=4")
    assert (done.code, done.err) == (0, ""), done
    return home / "runs" / "x"


def test_a_run_reports_its_win_rate(run, homes):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["exit"] == "iterations"
    assert (
        0
        <= summary["win_rate/reference/low"]
        <= summary["win_rate/reference"]
        <= summary["win_rate/reference/high"]
        <= 1
    )
    assert summary["win_rate/reference/low"] < summary["win_rate/reference/high"]
    assert 0 < summary["win_rate/reference/length_controlled"] < 1
    assert summary["kl/reference"] > 0
    assert summary["queries"] == 4 * 3 * 2
    samples = (run / "samples.md").read_text()
    assert samples.count("before: ") == samples.count("after (") == 12
    assert {f"**{text}**" for text in PROMPTS} >= {line for line in samples.splitlines() if line.startswith("**")}
    records = [record for record in RunFolder(run).records() if "evaluation/win_rate/reference" in record]
    assert [record["iteration"] for record in records] == [2, 4]
    assert set(WORDS) & set(samples.split())


def test_the_adapters_of_a_run_are_its_last_policy_and_its_best(arguments, homes, game, tmp_path, monkeypatch):
    """Compared with the checkpoints by transformers and peft alone. The last line but two says which is which."""
    monkeypatch.setattr(backbone, "BACKBONES", {})
    common = [*arguments, "solver=nash_md", "policy=language", "run=x"]
    rates, measure = iter([0.7, 0.5, 0.4]), win_rate.measure_win_rate

    def prefer_or_fail(*parts):
        metrics, samples = measure(*parts)
        return metrics | {"win_rate/reference": next(rates)}, samples

    monkeypatch.setattr(win_rate, "measure_win_rate", prefer_or_fail)
    done = marl_train(tmp_path, *common, "iterations=5")
    run = tmp_path / "runs/x"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["iteration"] == 2
    torch.manual_seed(0)
    policy = TransformerSpec(str(homes["chat"]), rank=2, length=4).profile(game)[0]
    tokens, scores = torch.tensor([7, 8, 9]), []
    for iteration, adapter in ((5, run / "adapter"), (2, run / "adapter/best")):
        state = checkpoint.read(run / "checkpoints" / f"{iteration:08d}")
        policy.load_state_dict(state["profile"]["policies"][0])
        expected = one_by_one(*plainly(homes["chat"], adapter), game.texts[2], tokens, 1.0)
        scores.append(policy.log_probs(prompt_rows(policy, [2]), tokens[None])[0].detach())
        torch.testing.assert_close(scores[-1], expected, **NEAR)
    assert not torch.allclose(*scores, atol=1e-3)
    says = "adapter runs/x/adapter (last, win rate 0.400), runs/x/adapter/best (iteration 2, 0.700)"
    assert says in done.out.splitlines()


def test_a_run_that_was_stopped_goes_on(run, arguments, tmp_path, monkeypatch):
    common = [*arguments, "solver=nash_md", "policy=language", "run=halves"]
    monkeypatch.setattr(backbone, "BACKBONES", {})
    assert marl_train(tmp_path, *common, "iterations=2").code == 0
    monkeypatch.setattr(backbone, "BACKBONES", {})  # as in another process
    done = marl_train(tmp_path, "resume=runs/halves", "iterations=4")
    assert (done.code, done.err) == (0, "")
    assert checkpoints(tmp_path / "runs" / "halves")[0] == 4
    assert_same_run(run, tmp_path / "runs" / "halves", 4)
    one, other = (json.loads((folder / "summary.json").read_text()) for folder in (run, tmp_path / "runs" / "halves"))
    clock = {"seconds": 0, "started": 0}
    assert one | clock == other | clock
    assert (run / "samples.md").read_text().splitlines()[1:] == (
        tmp_path / "runs/halves/samples.md"
    ).read_text().splitlines()[1:]


def test_a_run_that_was_killed_goes_on(run, arguments, tmp_path, monkeypatch):
    process = start_command(
        tmp_path, *arguments, "solver=nash_md", "policy=language", "run=killed", "iterations=4", pause=0.1
    )
    await_that(lambda: (checkpoints(tmp_path / "runs/killed") or [0])[0] >= 2, process)
    process.kill()
    process.join()
    assert checkpoints(tmp_path / "runs/killed")[0] < 4
    monkeypatch.setattr(backbone, "BACKBONES", {})  # as in another process
    assert marl_train(tmp_path, "resume=runs/killed").code == 0
    assert_same_run(run, tmp_path / "runs/killed", 4)


@pytest.mark.parametrize(("patience", "last_saved"), [(33, 3), (40, 4)])
def test_a_judge_who_gives_up_costs_no_finished_iteration(arguments, tmp_path, monkeypatch, patience, last_saved):
    """It fails during the fourth iteration, and during its evaluation."""
    own = [each for each in arguments if not each.startswith("game.judge")]
    common = [*own, "solver=nash_md", "policy=language", "game.judge._target_=test_language.Tiring", "iterations=4"]
    for name in ("whole", "tired"):
        monkeypatch.setattr(backbone, "BACKBONES", {})
        limit = [f"game.judge.patience={patience}"] if name == "tired" else []
        done = marl_train(tmp_path, *common, *limit, f"run={name}")
        assert (done.code, done.err) == (1 if limit else 0, ""), done
    sentence = (
        f"stopped after iteration {last_saved}: the judge is tired; the last good checkpoint is iteration {last_saved}"
    )
    assert done.out.splitlines()[-1] == sentence
    assert [record["iteration"] for record in RunFolder(tmp_path / "runs/tired").records()] == list(
        range(1, last_saved + 1)
    )
    monkeypatch.setattr(backbone, "BACKBONES", {})
    assert marl_train(tmp_path, "resume=runs/tired").code == 0
    assert_same_checkpoint(tmp_path / "runs/whole", tmp_path / "runs/tired", 4)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("policy.model=no/where/at/all", "there is no model at policy.model=no/where/at/all: give a folder"),
        ("policy.adapter=nowhere", "there is no adapter at policy.adapter=nowhere: give a folder"),
        ("game.prompts=nothing.txt", "there are no prompts in nothing.txt"),
        (
            "policy.length=62",
            "has 7 tokens and an answer has up to 62 (policy.length), more than the 64 that this model",
        ),
        ("game.prompts=nowhere.txt", "nowhere.txt"),
        ("game.judge.raters=[{wit:1.0}]", "there is no score 'wit'; choose from sentiment"),
        ("game.judge._target_=test_language.Tirng", "is not an importable class"),
        ("game.judge._target_=test_language.Backbone", "game.judge._target_ 'test_language.Backbone' is no judge"),
    ],
)
def test_invalid_prompts_are_refused_and_no_files_are_written(arguments, tmp_path, key, says):
    (tmp_path / "nothing.txt").write_text("\n\n")
    done = marl_train(tmp_path, *arguments, "solver=nash_md", "policy=language", "run=no", key)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done
    assert says in done.err
    assert [each.name for each in tmp_path.iterdir()] == ["nothing.txt"]


def test_a_run_can_be_answered(run, arguments, tmp_path):
    """By a best response to its last policy; a run with other adapters is refused."""
    best = [*arguments, "solver=best_response", "policy=language", f"solver.opponent={run}", "iterations=1"]
    done = marl_train(tmp_path, *best, "run=best")
    assert (done.code, done.err) == (0, "")
    assert json.loads((tmp_path / "runs/best/summary.json").read_text())["queries"] == 6
    for change, says in (
        ("policy.rank=3", "is not a run with such policies"),
        (f"solver.opponent={tmp_path}/no", "is not a run"),
    ):
        refused = marl_train(tmp_path, *best, change, "run=no")
        assert (refused.code, len(refused.err.splitlines())) == (2, 1), refused.err
        assert says in refused.err


def test_prompts_in_shards_keep_their_padding(homes, tmp_path):
    """Prompts differ in width. Answers of both sides have the log-probabilities with which they were sampled."""
    (tmp_path / "prompts.txt").write_text("\n".join(f"why is {'very ' * number}good ?" for number in range(8)))
    game = PromptGame(JUDGE, str(tmp_path / "prompts.txt"), held_out=0.2)
    profile = TransformerSpec(str(homes["chat"]), rank=2, length=4).profile(game)
    responder = PreferenceResponder(game, prompts=6, shard=1, pairs="across", loss="squared")
    batch = responder.collector.collect(profile[0], Opponents([freeze(profile)] * 2, (0.5, 0.5)))
    assert len({int((row >= 0).sum()) for row in batch.answers.rows}) > 1
    own = profile[0].log_probs(batch.answers.rows, batch.answers.tokens) * batch.answers.mask
    torch.testing.assert_close(own, batch.answers.log_prob, **NEAR)
