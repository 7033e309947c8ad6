"""Trained players in scripts, and runs that start from the weights of others."""

import json
import re
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runs import marl_train
from toys import Matrix, Walk

from games.openspiel import OpenSpiel
from marl_engine.errors import Refused
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.numerics.threads import usable_cores
from marl_engine.policies.mixtures.population import mix_members
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.weights import profile_state
from marl_engine.runs import checkpoint
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.initial import warm_start
from marl_engine.runs.players import cross_play, load_player
from marl_engine.runs.saved_weights import load_saved_profile, read_state
from marl_engine.tournaments import enter

SMALL = (
    *("responder.num_envs=16", "responder.rollout_length=16", "responder.minibatches=1", "policy.hidden=[8]"),
    *("evaluate_every=4", "save_every=4", "episodes=32"),
)
WALK = ("game=overcooked", "game._target_=toys.Walk", *SMALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of a game that is played and of one that is solved."""
    folder = tmp_path_factory.mktemp("home")
    for arguments in (
        (*WALK, "run=walk", "iterations=10"),
        (*WALK, "run=start", "iterations=1", "seed=1"),
        ("game=kuhn_poker", "solver=cfr_plus", "run=cfr", "iterations=300"),
        ("game=kuhn_poker", "solver=mmd", "run=first", "iterations=1"),
        ("game=kuhn_poker", "solver=psro", "run=psro", "iterations=3", "save_every=1"),
    ):
        done = marl_train(folder, *arguments)
        assert done.code == 0, done.err
    return folder


def weights(run, iteration):
    """Returns the first policy of a checkpoint."""
    return checkpoint.read(run / "checkpoints" / f"{iteration:08d}")["profile"]["policies"][0]


def alike(one, other):
    return all(torch.equal(each, other[name]) for name, each in one.items())


def test_a_player_is_the_best_of_its_run(home):
    player = load_player(home / "runs/walk")
    summary = json.loads((home / "runs/walk/summary.json").read_text())
    assert player.iteration == summary["best"]["iteration"]
    assert isinstance(player.game, Walk)
    assert alike(player.profile[0].state_dict(), weights(home / "runs/walk", player.iteration))
    assert player.evaluate(32)["return/initial/mean"] == pytest.approx(summary["best"]["score"])


def test_a_player_without_its_best_checkpoint_is_the_newest(home, tmp_path):
    shutil.copytree(home / "runs/walk", tmp_path / "walk")
    best = load_player(tmp_path / "walk").iteration
    shutil.rmtree(tmp_path / "walk/checkpoints" / f"{best:08d}")
    newest = checkpoint.newest_first(tmp_path / "walk/checkpoints")[0]
    assert load_player(tmp_path / "walk").iteration == int(newest.name)


def test_members_of_a_population_are_players(home):
    """The first one is the profile with which the run began; the best response to it is the second."""
    first, second = (load_player(home / f"runs/psro@member_{number}") for number in (0, 1))
    assert alike(first.profile[0].state_dict(), first.reference[0].state_dict())
    gains = [table_value(first.game, first, second, seat) for seat in (0, 1)]
    assert sum(gains) == pytest.approx(first.evaluate()["nash_conv"])
    with pytest.raises(Refused, match="has no member_9; choose from member_"):
        load_player(home / "runs/psro@member_9")
    with pytest.raises(Refused, match="cfr has no population"):
        load_player(home / "runs/cfr@member_0")


def table_value(game, first, second, seat):
    """Returns what a seat gains if the second player sits there instead of the first."""
    profile = [*first.profile]
    profile[seat] = second.profile[seat]
    payoffs = (
        expected_payoffs(game.form, realization_plan(game.form, extract_strategy(game, each)))
        for each in (profile, first.profile)
    )
    return float(np.subtract(*payoffs)[seat])


def test_a_player_is_another_checkpoint_by_its_address(home):
    last = load_player(home / "runs/walk@last")
    assert last.iteration == 10
    assert alike(last.profile[0].state_dict(), weights(home / "runs/walk", 10))
    with pytest.raises(Refused, match="has no checkpoint=7; choose from"):
        load_player(home / "runs/walk@7")


def test_folders_that_are_no_runs_are_refused(home):
    with pytest.raises(Refused, match="nowhere is not the folder of a run that has been saved"):
        load_player(home / "nowhere")


def test_cross_play_of_a_solved_game_is_exact(home):
    """Kuhn poker is worth -1/18 to player 0; over both seats nobody earns more than 0 against an equilibrium."""
    players = [load_player(home / f"runs/{name}") for name in ("cfr", "first")]
    table = cross_play(players)
    assert table.names == [each.name for each in players]
    assert not table.stderr.any()
    np.testing.assert_allclose(table.mean, -table.mean.T, atol=1e-12)
    assert table.mean[0, 1] > 0.01
    assert players[0].evaluate()["return/0"] == pytest.approx(-1 / 18, abs=1e-3)


def test_cross_play_by_games_is_zero_sum_and_knows_the_better_walker(home):
    """Seat 1 has no influence: the better walker earns more in seat 0 and loses less in seat 1."""
    table = cross_play([load_player(home / f"runs/{name}") for name in ("walk", "start")], episodes=256)
    assert table.mean[0, 0] == 0  # the same games from both seats
    assert table.mean[0, 1] > 4 * table.stderr[0, 1]
    assert abs(table.mean[0, 1] + table.mean[1, 0]) < 4 * np.hypot(table.stderr[0, 1], table.stderr[1, 0])
    first = str(table).splitlines()[0]
    assert first.startswith(str(home / "runs/walk"))
    assert re.findall(r"(\S+) ±", first) == [f"{each:.4g}" for each in table.mean[0]]


def test_players_of_different_games_do_not_meet(home):
    with pytest.raises(Refused, match="plays another game than"):
        cross_play([load_player(home / f"runs/{name}") for name in ("walk", "cfr")])


def test_players_of_games_from_other_files_do_not_meet(tmp_path):
    """The file has the same name for both runs, and other payoffs."""
    table = tmp_path / "game.csv"
    for name, text in (("one", "0.5,0.9\n0.1,0.5\n"), ("other", "0.5,0.1\n0.9,0.5\n"), ("again", "0.5,0.1\n0.9,0.5\n")):
        table.write_text(text)
        words = ("game=preference/file", f"game.payoffs={table}", "solver=nash_md", "iterations=1", f"run={name}")
        assert marl_train(tmp_path, *words).code == 0
    one, other, again = (load_player(tmp_path / "runs" / name) for name in ("one", "other", "again"))
    assert len(cross_play([other, again]).names) == 2
    with pytest.raises(Refused, match=r"runs/other plays another game than .*runs/one: game.payoffs had other content"):
        cross_play([one, other])
    with pytest.raises(Refused, match=r"game.payoffs had other content for .*runs/other than for .*runs/one; leave"):
        enter([one.name, other.name])
    with pytest.raises(Refused, match=r"game.payoffs had other content for .*runs/one than now"):
        enter([one.name, "random"], one.config["game"])


def test_a_run_begins_with_the_best_weights_of_another(home, tmp_path):
    """Also after the other run was removed: a copy of its weights is in the new folder."""
    shutil.copytree(home / "runs/walk", tmp_path / "runs/walk")
    initial = weights(tmp_path / "runs/walk", load_player(tmp_path / "runs/walk").iteration)
    still = ("responder.learning_rate=1e-12", "iterations=1", "run=warm")
    run = marl_train(tmp_path, *WALK, "init=runs/walk", *still)
    assert run.code == 0, run.err
    shutil.rmtree(tmp_path / "runs/walk")
    warm = weights(tmp_path / "runs/warm", 1)
    for name, each in initial.items():
        torch.testing.assert_close(warm[name], each, atol=1e-6, rtol=0)
    assert alike(load_player(tmp_path / "runs/warm").reference[0].state_dict(), initial)
    assert marl_train(tmp_path, "resume=runs/warm", "iterations=2").code == 0
    assert marl_train(tmp_path, "resume=runs/warm", "init=runs/x").code == 2


def test_a_run_begins_with_a_part_of_another(tmp_path):
    """Here with a member of a population."""
    networks = ("game=kuhn_poker", "policy=network", "policy.shared=false", *SMALL)
    source = (*networks, "solver=psro", "solver.oracle_steps=1", "run=source", "iterations=2")
    assert marl_train(tmp_path, *source).code == 0
    run = (*networks, "solver=self_play", "responder.learning_rate=1e-12", "iterations=1")
    for part in ("member_0", "member_2"):
        begun = marl_train(tmp_path, *run, f"init=runs/source@{part}", f"run={part}")
        assert begun.code == 0, begun.err
        first, member = load_player(tmp_path / "runs" / part).reference, load_player(f"{tmp_path}/runs/source@{part}")
        for policy, same in zip(first, member.profile, strict=True):
            assert alike(policy.state_dict(), same.state_dict())
    refused = marl_train(tmp_path, *run, "init=runs/source@member_9", "run=x")
    assert "runs/source has no member_9; choose from member_" in refused.err


def test_tables_begin_with_the_strategy_of_networks(tmp_path):
    """It is the first member of PSRO, also if the other run is gone when this one is resumed."""
    networks = ("game=kuhn_poker", "policy=network", "solver=self_play", *SMALL, "run=networks", "iterations=1")
    assert marl_train(tmp_path, *networks).code == 0
    player = load_player(tmp_path / "runs/networks")
    strategy = extract_strategy(player.game, player.profile)
    tables = ("game=kuhn_poker", "solver=psro", "init=runs/networks", "run=tables", "iterations=1")
    assert marl_train(tmp_path, *tables).code == 0
    shutil.rmtree(tmp_path / "runs/networks")
    assert marl_train(tmp_path, "resume=runs/tables", "iterations=2").code == 0
    _, state = read_state(tmp_path / "runs/tables", "last")
    first = [members[0]["strategy"] for members in state["solver"]["population"]["members"]]
    np.testing.assert_allclose(np.concatenate([np.ones(2), *first]), strategy)
    refused = marl_train(tmp_path, *WALK, "init=rllib:x", "run=x")
    assert (
        "init=rllib:x has no weights of this engine's networks; take a run that RLlib trained here (solver=rllib)"
        in refused.err
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("init=runs/nowhere",), "init=runs/nowhere is not the folder of a run that has been saved"),
        (
            ("init=runs/walk", "policy.hidden=[9]"),
            r"init=runs/walk does not fit: .* is float32 \[.*8.*\], and must be float32 \[.*9.*\]; take a run of",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(home, arguments, sentence):
    run = marl_train(home, *WALK, *arguments, "run=refused")
    assert run.code == 2
    assert re.match(sentence, run.err)
    assert "size mismatch" not in run.err


def test_more_threads_than_cores_are_warned_about(home):
    run = marl_train(home, *WALK, "threads=1000", "iterations=1", "run=threads")
    torch.set_num_threads(1)
    assert run.code == 0
    cores = len(usable_cores())
    assert f"threads=1000 is more than the {cores} cores here, which makes a run slower, not faster\n" in run.err


def test_a_responder_that_plays_no_games_learns_no_responses(home):
    with pytest.raises(Refused, match="ExactResponder plays no steps of games, so responses cannot be learned"):
        load_player(home / "runs/first").bound_exploitability(steps=10)


def test_a_player_reads_the_copies_of_files_that_are_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.csv"
    file.write_text("1,-1\n-1,1\n")
    keys = ("game=matrix", f"game.payoffs={file}", "solver=mmd", "run=x", "iterations=1")
    assert marl_train(tmp_path, *keys).code == 0
    file.unlink()
    player = load_player(tmp_path / "runs/x")
    assert player.config["game"]["payoffs"] == str(file)
    assert Path(player.local_config["game"]["payoffs"]).read_text() == "1,-1\n-1,1\n"


def saved_run(folder, profile):
    """Saves a profile as the checkpoint of a run."""
    RunFolder(folder).save(1, {"profile": profile_state(profile)}, None)
    return folder


@pytest.mark.parametrize("shared", [True, False])
def test_saved_mixtures_and_sharing_are_restored(tmp_path, shared):
    """As PSRO saves them: mixtures of networks, one in both seats, or one in each."""
    game, spec = OpenSpiel("kuhn_poker"), MLPSpec(hidden=[4], shared=shared)
    members = zip(*(spec.profile(game) for _ in range(2)), strict=True)
    mixtures = mix_members(list(map(list, members)), [[0.3, 0.7], [0.6, 0.4]])
    profile = [mixtures[0]] * 2 if shared else mixtures
    saved = load_saved_profile(saved_run(tmp_path / "run", profile), spec.profile(game), "solver.opponent")
    np.testing.assert_array_equal(extract_strategy(game, saved), extract_strategy(game, profile))
    assert (saved[0] is saved[1]) == shared
    assert not any(each.requires_grad for policy in saved for each in policy.parameters())


def test_different_policies_of_a_run_do_not_become_one(tmp_path):
    """Seats that share a policy begin with the weights of one that they shared, or of equal ones."""
    spec = MLPSpec(hidden=[4])
    game = Matrix(torch.eye(2))
    (shared,), (first,), (second,) = (set(spec.profile(game)) for _ in range(3))
    with pytest.raises(Refused, match="seats 0, 1 share one policy here and have different ones there"):
        warm_start([shared] * 2, game, str(saved_run(tmp_path / "different", [first, second])))
    warm_start([shared] * 2, game, str(saved_run(tmp_path / "equal", [second, deepcopy(second)])))
    assert alike(shared.state_dict(), second.state_dict())
