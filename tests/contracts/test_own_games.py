"""A user's game that breaks the contract stops the run with a sentence that says what is wrong."""

import re
from itertools import chain, count, repeat
from math import inf

import pytest
import torch
from command_runs import marl_train
from toys import Leaving, Right, Walk

from marl_engine.errors import Halted, Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.rollout import game_contract
from marl_engine.rollout.game_contract import check_batching, check_ends, check_game
from marl_engine.rollout.rollout import play, score

BROKEN = {
    "reward shape": r"reward must be torch.float32 \(5, 2\), not torch.float32 \(5,\)",
    "reward type": r"reward must be torch.float32 \(5, 2\), not torch.float64 \(5, 2\)",
    "done type": r"done must be torch.bool \(5,\), not torch.int32 \(5,\)",
    "observation shape": r"observation must be \(5, 2, 1\), not torch.float32 \(5, 2\)",
    "no tensor": r"shaping must be a tensor torch.float32 \(5, 2\), not NoneType",
    "no turn": r"must return a marl_engine.types.Turn, not tuple",
    "reward nan": r"reward must be finite numbers; at \[\d, 0\] it has nan",
    "observation inf": r"observation must be finite numbers; at \[\d, 0, 0\] it has inf",
    "stuck": r"must have a legal action; legal is False for all of them at \[\d, 0\]",
    "final nan": r"final must be finite numbers; at \[\d, 0, 0\] it has nan",
    "no final": r"truncated and final is None; final must be its last observation \(B, P, …\)",
    "endless": r"no game ended within 10,000 turns of random play; a game must be done some time, or truncated",
    "crash": r"raises IndexError: list index out of range \(.*toys.py, line \d+\) in check_shapes",
    "shared chance": r"copy 63 of 64 must depend on its own seed alone.*; observation differs at turn 0",
    "forgetful": r"a restored game must go on as the saved one; reward differs at turn \d\d",
    "shared state": r"state\(\)\['at'\] must be a copy",
    "ghost": r"acting must be False where alive is False; it is True at \[\d, 1\]",
    "deserted": r"a game that all seats have left must be done; nobody is alive in copy \d",
    "back": r"must stay away until the game is done; alive is True again at \[\d, 1\]",
    "alive shape": r"alive must be torch.bool \(5, 2\), not torch.bool \(5,\)",
    "not opened": r"where done is True, observation must be that of the game that opens next",
}


def test_a_game_that_a_seat_leaves_passes_every_check():
    assert len(list(check_game(Leaving(torch.eye(2), patience=4)))) == 5


class Brief(Leaving):
    """`alive` is None while all are there; `final` has a meaning only where a game is truncated."""

    def reset(self, seeds):
        return self.restore({"clock": seeds % 2})

    def _turn(self, reward, done):
        turn = super()._turn(reward, done)
        final = turn.observation.masked_fill(~done[:, None, None], torch.nan)
        alive = None if turn.alive.all() else turn.alive
        return turn._replace(alive=alive, truncated=done, final=final)


def test_what_a_turn_leaves_open_may_differ_between_batches():
    assert len(list(check_game(Brief(torch.eye(2), patience=4)))) == 5


def test_a_correct_game_passes_every_check():
    *_, last = lines = list(check_game(Walk()))
    assert len(lines) == 5
    assert re.fullmatch(r"\d+ games ended after 2 to \d+ turns, and opened anew", last)


@pytest.mark.parametrize("fault", BROKEN)
def test_check_says_what_is_wrong(fault, monkeypatch):
    monkeypatch.setattr(game_contract, "SECONDS", inf)
    with pytest.raises(Refused, match=BROKEN[fault]):
        list(check_game(Walk(fault)))


def test_a_slow_game_is_checked_with_fewer_games(monkeypatch):
    """The clock moves by a second whenever it is read, then only once."""
    monkeypatch.setattr(game_contract, "perf_counter", count().__next__)
    monkeypatch.setattr(game_contract, "SECONDS", 6)
    assert check_batching(Walk()) == "a copy depends on its own seed alone (3 turns of 64 copies)"
    assert check_ends(Walk("endless")) == "no game ended in 7 turns (6 seconds); that games end has not been checked"
    monkeypatch.setattr(game_contract, "perf_counter", chain([0], repeat(9)).__next__)
    leaving = "4 games ended after 4 to 4 turns; the game is too slow to compare how they opened anew"
    assert check_ends(Leaving(torch.eye(2), patience=4)) == leaving


def test_the_command_checks_a_game(tmp_path):
    keys = ("game._target_=toys.Walk", "check=true")
    fine, broken = marl_train(tmp_path, *keys), marl_train(tmp_path, *keys, "game.fault=done type")
    assert (fine.code, fine.out.count("ok  "), broken.code, broken.out.count("ok  ")) == (0, 5, 2, 1)
    assert broken.err == "Walk: done must be torch.bool (5,), not torch.int32 (5,)\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["reward shape", "done type", "no tensor", "no turn", "no final"])
def test_play_stops_where_the_first_turns_are_wrong(fault):
    wrong = BROKEN[fault].replace("(5", "(3")
    with pytest.raises(Refused, match=wrong):
        score(Walk(fault), [Right()] * 2, derive_seeds(0, 3))
    game = Walk()
    turn = game.reset(derive_seeds(0, 3))
    game.fault = fault
    with pytest.raises(Refused, match=wrong):
        play(game, [Right()] * 2, turn, derive_seeds(0, 3), 0, 4)


@pytest.mark.parametrize("fault", ["reward nan", "observation inf", "stuck", "no final", "final nan"])
def test_play_stops_at_the_end_of_a_stretch_where_later_turns_are_wrong(fault):
    game = Walk(fault)
    turn = game.restore({"at": torch.tensor([0, 0, 0])})
    with pytest.raises(Halted, match=BROKEN[fault].replace(r"[\d", r"[\d+, \d")):
        play(game, [Right()] * 2, turn, derive_seeds(0, 3), 100, 4)


def test_a_game_that_does_not_end_cannot_be_scored(monkeypatch):
    monkeypatch.setattr("marl_engine.rollout.rollout.LONGEST", 100)
    with pytest.raises(Halted, match="3 of 3 games had not ended after 100 turns, so they cannot be scored"):
        score(Walk("endless"), [Right()] * 2, derive_seeds(0, 3))


@pytest.mark.parametrize(
    ("fault", "code", "sentence"),
    [
        ("reward type", 2, r"^Walk: reward must be torch.float32 \(3, 2\), not torch.float64 \(3, 2\)$"),
        ("late nan", 1, r"stopped after iteration 2: Walk: reward must be finite numbers; at \[4, 0, 0\] it has nan"),
    ],
)
def test_a_run_stops_with_the_sentence(tmp_path, fault, code, sentence):
    """Before the first iteration nothing is written; later the run names its last checkpoint."""
    small = (
        "responder.num_envs=3",
        "responder.rollout_length=8",
        "responder.minibatches=1",
        "policy.hidden=[8]",
        "iterations=3",
    )
    keys = ("game._target_=toys.Walk", f"game.fault={fault}", "run=own")
    run = marl_train(tmp_path, *keys, *small)
    assert run.code == code
    assert re.search(sentence, run.err if code == 2 else run.out.replace("\n", " "))
    assert "learning_rate" not in run.out + run.err
