"""Answers are functions of their seeds, have the right frequencies, and are mixed token by token."""

from copy import deepcopy
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from games.normal_form.games import PreferenceMatrix, SentenceMatrix
from marl_engine.numerics.rng import derive_seeds
from marl_engine.policies.language.enumerable import EnumerableLM, EnumerableLMSpec
from marl_engine.policies.language.generation import (
    CompletionQueue,
    Completions,
    GeometricMixture,
    LanguagePolicy,
    complete,
    generate,
)

NEAR = {"atol": 1e-6, "rtol": 1e-5, "check_dtype": False}


def tiny(seed, vocabulary=3, length=3, kind=EnumerableLM):
    """Returns a model with random logits (R, V) float64."""
    prefixes = sum(vocabulary**place for place in range(length))
    logits = torch.randn(prefixes, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return kind(logits, vocabulary, length)


def rows(count):
    return torch.zeros(count, 1, dtype=torch.int64)


@torch.no_grad()
def chances_of(model):
    """Returns the probabilities of all 27 answers."""
    return model(rows(27))[0].log_prob(torch.arange(27)).exp()


@torch.no_grad()
def on_sheets(writer, tokens):
    """Returns the log-probabilities (N, L) of answers (N, L), computed by decoding."""
    sheet, log_probs = writer.start_decoding(rows(len(tokens))), []
    for place, token in enumerate(tokens.T):
        log_probs.append(sheet.logits.log_softmax(-1).gather(-1, token[:, None])[:, 0])
        if place < tokens.shape[1] - 1:
            sheet.append(token)
    return torch.stack(log_probs, dim=-1)


class CountingLM(EnumerableLM):
    """Counts the rows of decoding steps."""

    row_count = 0

    def start_decoding(self, rows):
        sheet, self.row_count = super().start_decoding(rows), self.row_count + len(rows)
        append = sheet.append

        def count_append(token):
            self.row_count += len(token)
            append(token)

        sheet.append = count_append
        return sheet


class Coin(LanguagePolicy):
    """Generates 0 with probability 0.7, or 1, which ends an answer."""

    length, ends, vocabulary = 6, (1,), 2

    def start_decoding(self, rows):
        logits = torch.tensor([0.7, 0.3]).log().repeat(len(rows), 1)
        return SimpleNamespace(logits=logits, append=lambda token: None)

    def decode(self, tokens, mask):
        return mask.sum(-1).tolist()


@pytest.mark.parametrize("sizes", [(1,) * 40, (7, 33), (40,)])
def test_an_answer_is_a_function_of_its_seed(sizes):
    seeds, model = derive_seeds(3, 40), GeometricMixture(tiny(0), tiny(1), 0.3)
    full = generate(model, rows(40), seeds)
    parts = [generate(model, rows(len(each)), each) for each in seeds.split(sizes)]
    assert torch.equal(full.tokens, torch.cat([part.tokens for part in parts]))
    assert torch.equal(full.log_prob, torch.cat([part.log_prob for part in parts]))
    assert full.texts == [each for part in parts for each in part.texts]
    assert len(set(full.texts)) > 5


def test_answers_are_sampled_with_their_probabilities():
    """Each of 27 within 4.5 standard deviations, and all together by chi-square with 26 degrees of freedom."""
    model, count = tiny(0), 200_000
    chances = chances_of(model).numpy()
    result = np.bincount(generate(model, rows(count), derive_seeds(0, count)).texts, minlength=27)
    assert (abs(result / count - chances) < 4.5 * np.sqrt(chances * (1 - chances) / count)).all()
    assert ((result - count * chances) ** 2 / (count * chances)).sum() < 60
    assert chances.max() > 10 * chances.min()


def test_log_probabilities_agree_between_all_interfaces():
    model, answers = tiny(0), tiny(0).answer_tokens
    completions = generate(model, rows(500), derive_seeds(1, 500))
    torch.testing.assert_close(completions.log_prob, model.log_probs(completions.rows, completions.tokens), **NEAR)
    torch.testing.assert_close(on_sheets(model, answers), model.log_probs(rows(27), answers), **NEAR)
    assert model.decode(answers, torch.ones_like(answers, dtype=torch.bool)) == list(range(27))
    assert [model.decode(completions.tokens[:1], completions.mask[:1])[0]] == completions.texts[:1]
    torch.testing.assert_close(chances_of(model)[completions.texts].log(), completions.log_prob.sum(-1), **NEAR)


def test_scores_have_mean_zero():
    """E[grad log pi] = 0 over the 27 answers, but not with log-probabilities of another temperature."""
    for temperature, is_zero in ((1.0, True), (0.9, False)):
        model = tiny(0)
        chances = model.log_probs(rows(27), model.answer_tokens).sum(-1).exp().detach()
        other = EnumerableLM(model.logits.detach() / temperature, 3, 3)
        (chances * other.log_probs(rows(27), other.answer_tokens).sum(-1)).sum().backward()
        assert (float(other.logits.grad.abs().max()) < 1e-14) == is_zero


def test_an_answer_ends_with_its_last_token():
    """Its length is geometric, and includes the token that ends it."""
    count = 50_000
    completions = generate(Coin(), rows(count), derive_seeds(0, count))
    for length in range(1, 7):
        chance = 0.7 ** (length - 1) * (0.3 if length < 6 else 1.0)
        share = np.mean(np.array(completions.texts) == length)
        assert share == pytest.approx(chance, abs=4.5 * sqrt(chance / count))
    last = completions.mask.sum(-1) - 1
    short = last < 5
    assert (completions.tokens.gather(-1, last[:, None])[short] == 1).all()
    assert (completions.tokens[~completions.mask] == 0).all()
    assert (completions.log_prob[~completions.mask] == 0).all()
    chances = torch.tensor([0.7, 0.3]).log()
    torch.testing.assert_close(completions.log_prob[completions.mask], chances[completions.tokens[completions.mask]])


def test_nothing_is_written_behind_the_last_end():
    seeds = derive_seeds(0, 1)
    alone = generate(Coin(), rows(1), seeds)
    assert alone.tokens.shape[1] == alone.mask.sum()


@pytest.mark.parametrize("weight", [0.0, 0.125, 0.5, 1.0])
def test_a_mixture_is_one_of_tokens(weight):
    """pi^(1 - w) mu^w, normalised after every prefix; the mixture of whole answers is different (N5)."""
    first, second = tiny(0), tiny(1)
    result = on_sheets(GeometricMixture(first, second, weight), first.answer_tokens).sum(-1)
    tables = torch.lerp(first.logits.log_softmax(-1), second.logits.log_softmax(-1), weight)
    torch.testing.assert_close(result.exp(), chances_of(EnumerableLM(tables.detach(), 3, 3)), **NEAR)
    full = [model.log_probs(rows(27), model.answer_tokens).sum(-1).detach() for model in (first, second)]
    answers = torch.lerp(*full, weight).log_softmax(-1)
    if weight in (0, 1):
        torch.testing.assert_close(result, full[int(weight)], **NEAR)
    else:
        assert float((result.exp() - answers.exp()).abs().sum()) > 0.02
    assert float(result.exp().sum()) == pytest.approx(1)


def test_a_mixture_leaves_other_rows_to_the_first_policy():
    """Answers in a common batch equal those generated separately."""
    one, other, seeds = tiny(0), tiny(1), derive_seeds(0, 60)
    where = torch.arange(5, 60, 3)
    beside = generate(GeometricMixture(one, other, 0.5, where), rows(60), seeds)
    alone, mixed = generate(one, rows(60), seeds), generate(GeometricMixture(one, other, 0.5), rows(60), seeds)
    is_mixed = torch.zeros(60, dtype=torch.bool).index_fill(0, where, True)
    expected = [
        two if each else first for each, first, two in zip(is_mixed.tolist(), alone.texts, mixed.texts, strict=True)
    ]
    assert beside.texts == expected != alone.texts
    torch.testing.assert_close(beside.log_prob, torch.where(is_mixed[:, None], mixed.log_prob, alone.log_prob), **NEAR)


def test_a_mixture_asks_each_policy_once_for_each_token():
    first, second = tiny(0, length=5, kind=CountingLM), tiny(1, length=5, kind=CountingLM)
    generate(GeometricMixture(first, second, 0.5), rows(12), derive_seeds(0, 12))
    assert (first.row_count, second.row_count) == (60, 60)


def test_only_writers_with_the_same_tokens_are_mixed():
    with pytest.raises(ValueError, match="same tokens"):
        GeometricMixture(tiny(0), tiny(0, vocabulary=2), 0.5)


class Numbered(Coin):
    """Generates answers that are in no queue."""

    def decode(self, tokens, mask):
        return ["fresh"] * len(tokens)


def test_a_queue_returns_its_last_entries():
    queue, twice = CompletionQueue(Numbered(), 3, {}), torch.tensor([4, 4])
    queue.push(twice, ["a", "b"])
    queue.push(twice, ["c", "d"])
    queue.push(torch.tensor([7]), ["z"])
    numbers = torch.tensor([4, 9, 7]).repeat(300)
    result = queue.complete(numbers, derive_seeds(0, 900))
    shares = {text: result.texts[::3].count(text) / 300 for text in "abcd"}
    assert shares["a"] == 0
    assert all(abs(shares[text] - 1 / 3) < 0.13 for text in "bcd")
    assert set(result.texts[1::3]) == {"fresh"}
    assert set(result.texts[2::3]) == {"z"}
    again = CompletionQueue(Numbered(), 3, deepcopy(queue.answers))
    assert again.complete(numbers, derive_seeds(0, 900)).texts == result.texts
    queue.push(twice[:1], ["e"])
    again.push(twice[:1], ["e"])
    assert again.answers == queue.answers == {"4": ["c", "d", "e"], "7": ["z"]}
    assert isinstance(complete(queue, numbers[:3], derive_seeds(0, 3)), Completions)


def test_a_tiny_model_begins_as_its_game_does():
    game = SentenceMatrix(draw=3)
    (model, again) = EnumerableLMSpec().profile(game)
    assert model is again
    assert model.logits.shape == (13, 3)
    chances = chances_of(model).numpy()
    assert chances == pytest.approx(game.start[2:29], abs=1e-6)
    other = EnumerableLMSpec(length=1).profile(PreferenceMatrix("cycle", reference=(0.6, 0.3, 0.1)))[0]
    assert other.logits.softmax(-1)[0].tolist() == pytest.approx([0.6, 0.3, 0.1])


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((2, 3), "2\\^3 must be the 27 answers of SentenceMatrix, not 8"),
        ((1, 3), "vocabulary must be a whole number of 2 or more"),
        ((3, 0), "length must be a whole number of 1 or more"),
    ],
)
def test_a_tiny_model_fits_its_game(sizes, says):
    with pytest.raises(ValueError, match=says):
        EnumerableLMSpec(*sizes).profile(SentenceMatrix())
