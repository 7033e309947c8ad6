"""Games played through OpenSpiel's states are those that are compiled, and large games start, learn and resume."""

import signal
from copy import deepcopy

import numpy as np
import pyspiel
import pytest
import torch
from command_runs import marl_train

from games.openspiel import OpenSpiel, OpenSpielStates, RandomOpenings
from games.openspiel.bots import LOOK_AHEAD, MCTS, RANDOM, look_ahead, search
from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Notice, Refused
from marl_engine.evaluation.best_response import bound_exploitability, choose_larger
from marl_engine.evaluation.bots import headline, wins
from marl_engine.evaluation.exploitability import measure_exactly
from marl_engine.extensive_form.sequence_form import expected_payoffs, realization_plan
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.weights import profile_state
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.game_contract import check_batching, check_restore, random_actions
from marl_engine.rollout.rollout import play
from marl_engine.rollout.stream import Stream
from marl_engine.runners import Resident
from marl_engine.runs.factory import build
from marl_engine.runs.folder import RunFolder

COMPILED = (
    *("kuhn_poker", "kuhn_poker(players=3)", "leduc_poker", "tiny_hanabi", "liars_dice(dice_sides=3)"),
    "dark_hex(board_size=2,gameversion=adh)",
)
LARGE = {  # seats, actions, shape of an observation, bots of all evaluations, bots of the last one
    "connect_four": (2, 7, (6, 7, 3), (RANDOM, LOOK_AHEAD), (MCTS,)),
    "dark_hex(board_size=3)": (2, 9, (162,), (RANDOM,), ()),
    "phantom_ttt": (2, 9, (108,), (RANDOM,), ()),
    "hex": (2, 121, (11, 11, 9), (RANDOM,), ()),
    "backgammon": (2, 1352, (200,), (RANDOM,), ()),
    "hanabi": (2, 20, (658,), (), ()),
    "go(board_size=5)": (2, 26, (5, 5, 4), (RANDOM, LOOK_AHEAD), ()),
    "leduc_poker(players=9)": (9, 3, (149,), (RANDOM,), ()),  # ten ranks
    "goofspiel(imp_info=True,num_cards=13,points_order=random)": (2, 13, (561,), (RANDOM,), ()),
    "oshi_zumo(horizon=50)": (2, 51, (111,), (RANDOM,), ()),
}
GOOFSPIEL = "goofspiel(imp_info=True,num_cards=13,points_order=random)"
SIMULTANEOUS = "goofspiel(imp_info=True,num_cards=4,points_order=descending)"
STEPWISE = "laser_tag"  # simultaneous moves whose order chance decides, and rewards for hits


def play_randomly(game, seeds, turns):
    """Yields the turns of copies that take random legal actions, each with the actions that led to it."""
    turn, actions = game.reset(seeds), None
    for number in range(turns):
        yield actions, turn
        actions = random_actions(game, turn, number)
        turn = game.step(actions)


@pytest.mark.parametrize("name", COMPILED)
def test_states_and_arrays_play_the_same_games(name):
    """Equal seeds and actions give equal turns, to the bit, and what seats are shown is what networks are given."""
    arrays, states, seeds = OpenSpiel(name), OpenSpielStates(name), derive_seeds(3, 32)
    twin, ended = arrays.reset(seeds), 0
    for actions, turn in play_randomly(states, seeds, 40):
        if actions is not None:
            twin = arrays.step(actions)
        for field in ("legal", "acting", "reward", "done"):
            assert torch.equal(getattr(turn, field), getattr(twin, field))
        numbers = twin.observation[twin.acting][:, 0].long()
        assert torch.equal(turn.observation[turn.acting], arrays.features[numbers])
        assert not turn.observation[~turn.acting].any()
        ended += int(turn.done.sum())
    assert ended > 32


def twin_profiles(arrays, states):
    """Returns profiles of the same network, for a compiled game and for the game played through its states."""
    torch.manual_seed(1)
    one, other = MLPSpec(hidden=[16]).profile(arrays), MLPSpec(hidden=[16]).profile(states)
    with torch.no_grad():
        one[0].network.weights[-1].mul_(100)  # far from uniform
        for name, weights in one[0].named_parameters():
            dict(other[0].named_parameters())[name].copy_(weights)
    return one, other


def test_a_network_has_the_same_value_and_reaches_in_states_and_arrays():
    """The mean payoff of 20,000 games, and how often each information set is visited, against exact numbers."""
    arrays, states = OpenSpiel("kuhn_poker"), OpenSpielStates("kuhn_poker")
    one, other = twin_profiles(arrays, states)
    plan = realization_plan(arrays.form, extract_strategy(arrays, one))
    seeds = derive_seeds(4, 2000)
    played, *_ = play(states, other, states.reset(seeds), seeds, 0, 30)
    paid = played.reward[played.done][:, 0].double()
    assert paid.mean().item() == pytest.approx(
        expected_payoffs(arrays.form, plan)[0], abs=4 * paid.std().item() / len(paid) ** 0.5
    )
    twin, *_ = play(arrays, one, arrays.reset(seeds), seeds, 0, 30)
    numbers = twin.observation[twin.acting][:, 0]
    shown = (played.observation[played.acting][:, None] == arrays.features).all(-1).long().argmax(1)
    assert torch.equal(shown.bincount(minlength=12), numbers.bincount(minlength=12))
    assert len(shown.unique()) == 12


def test_legal_moves_of_tic_tac_toe_are_the_empty_cells():
    game = OpenSpielStates("tic_tac_toe")
    assert game.observation_shape == (3, 3, 3)
    empty = torch.ones(16, 9, dtype=torch.bool)
    mover = torch.zeros(16, dtype=torch.long)
    for actions, turn in play_randomly(game, derive_seeds(5, 16), 30):
        if actions is not None:
            empty.scatter_(1, actions.gather(1, mover[:, None]), False)
            empty[turn.done], mover = True, torch.where(turn.done, 0, 1 - mover)
        assert torch.equal(turn.acting.long().argmax(1), mover)
        assert torch.equal(turn.legal[turn.acting], empty)
        assert turn.legal[~turn.acting].all()


def test_simultaneous_moves_equal_moves_in_turn():
    """In the compiled game the seats bid one after the other, and the second does not know the first bid."""
    both, in_turn, seeds = OpenSpielStates(SIMULTANEOUS), OpenSpiel(SIMULTANEOUS), derive_seeds(6, 64)
    second, ended = in_turn.reset(seeds), 0
    for actions, turn in play_randomly(both, seeds, 24):
        if actions is not None:
            assert torch.equal(in_turn.step(actions).acting, torch.tensor([False, True]).expand(64, 2))
            second = in_turn.step(actions)
            assert torch.equal(turn.reward, second.reward)
            assert torch.equal(turn.done, second.done)
        assert turn.acting.all()
        assert torch.equal(turn.legal[:, 0], second.legal[:, 0])
        ended += int(turn.done.sum())
    assert ended == 64 * 7  # three bids each: the last card is played by itself


def test_rewards_are_paid_as_they_arise():
    """Walking along a cliff costs 1 in each step, and falling off 100."""
    game, falls = OpenSpielStates("cliff_walking"), 0
    for actions, turn in play_randomly(game, derive_seeds(7, 16), 40):
        if actions is not None:
            assert ((turn.reward == -1) | (turn.reward == -100)).all()
            assert turn.done[(turn.reward == -100)[:, 0]].all()
            falls += int((turn.reward == -100).sum())
    assert falls > 16


def test_rewards_add_up_to_returns():
    """Also where several are paid in a game; a game under way has been paid what OpenSpiel says it has returned."""
    game, total = OpenSpielStates(STEPWISE), torch.zeros(16, 2)
    for _, turn in play_randomly(game, derive_seeds(7, 16), 200):
        total = torch.where(turn.done[:, None], 0.0, total + turn.reward)
        assert total.tolist() == [state.returns() for state in game.states]
    assert total.any()


@pytest.mark.parametrize("name", ["backgammon", "hanabi", GOOFSPIEL, STEPWISE, "python_dynamic_routing"])
def test_copies_are_alone_and_saved_exactly(name):
    """Also in the middle of games, with chance, simultaneous moves and rewards in every round."""
    check_batching(OpenSpielStates(name), copies=8, turns=40)
    check_restore(OpenSpielStates(name))


def test_games_open_after_random_moves():
    """As many as their level says; evaluations, which have no levels, start with an empty board."""
    game, seeds = OpenSpielStates("connect_four"), derive_seeds(12, 64)
    profile, source = MLPSpec(hidden=[4]).profile(game), RandomOpenings(longest=6)
    stream, later = (Stream(deepcopy(game), seeds, source) for _ in range(2))
    trajectory, _ = stream.play(profile, 60)
    opens = torch.cat([torch.ones_like(trajectory.done[:1]), trajectory.done[:-1]])
    pieces = trajectory.observation[opens][..., :2].sum((1, 2, 3, 4)).long()
    assert torch.equal(pieces, trajectory.level[opens][:, 0])
    assert (pieces.bincount(minlength=7) > len(pieces) / 14).all()
    assert len(trajectory.level[..., 1].unique()) > 64
    set_state(
        Resident(later), deepcopy(get_state(Resident(stream)))
    )  # as a responder saves it: more moves than at first
    one, other = (each.play(profile, 60)[0] for each in (stream, later))
    assert torch.equal(one.observation, other.observation)
    assert not game.reset(seeds).observation[..., :2].any()


def test_an_opening_is_that_of_its_level():
    """Also with chance and in simultaneous moves; it never ends a game, and what it earns is not paid."""
    levels = torch.tensor([[5, 7], [5, 7], [5, 8], [60, 9]])
    for name in ("connect_four", "backgammon", GOOFSPIEL, STEPWISE):
        game, twin = OpenSpielStates(name), OpenSpielStates(name)
        turn = game.reset(derive_seeds(13, 1).expand(4), levels)
        assert torch.equal(turn.observation[0], turn.observation[1])
        assert not torch.equal(turn.observation[0], turn.observation[2])
        assert not turn.done.any()
        assert turn.acting.any(1).all()
        again = twin.restore(game.state())
        actions = random_actions(game, turn, 5)
        assert torch.equal(again.observation, turn.observation)
        assert all(map(torch.equal, twin.step(actions)[:7], game.step(actions)[:7]))
    with pytest.raises(ValueError, match=r"levels of OpenSpielStates are rows \(number of random moves, seed\)"):
        game.reset(derive_seeds(13, 2), torch.tensor([1, 2]))


def test_a_copy_of_a_game_goes_on_as_the_game():
    game = OpenSpielStates("leduc_poker")
    *_, (_, turn) = play_randomly(game, derive_seeds(8, 4), 20)
    other = deepcopy(game)
    actions = random_actions(game, turn, 99)
    assert torch.equal(game.step(actions).observation, other.step(actions).observation)


def test_a_state_of_another_game_is_refused():
    game, other = OpenSpielStates("connect_four"), OpenSpielStates("tic_tac_toe")
    other.reset(derive_seeds(9, 2))
    for _ in range(2):
        turn = other.restore(other.state())
        other.step(torch.where(turn.acting, 8 - turn.acting.long().argmax(1)[:, None], 0))
    with pytest.raises(ValueError, match="the saved state is of another game than connect_four"):
        game.restore(other.state())


def test_each_seat_sees_its_own_pieces_first():
    """In tic-tac-toe OpenSpiel's planes are empty cells, noughts of seat 1 and crosses of seat 0."""
    plain, own, seeds = (
        OpenSpielStates("tic_tac_toe"),
        OpenSpielStates("tic_tac_toe", None, [2, 1]),
        derive_seeds(14, 8),
    )
    board = plain.reset(seeds)
    for actions, turn in play_randomly(own, seeds, 30):
        board = board if actions is None else plain.step(actions)
        expected = board.observation.clone()
        expected[:, 1] = expected[:, 1][..., [0, 2, 1]]
        assert torch.equal(turn.observation, expected)
    copied = deepcopy(own).restore(own.state()).observation
    assert torch.equal(copied, own.restore(own.state()).observation)
    assert copied[:, 1, ..., 1:].any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("khun_poker",), "no game 'khun_poker'; choose from kuhn_poker, "),
        (("stones_and_gems",), "'stones_and_gems' does not say what its chances are"),
        (("connect_four", "information_state"), "game.observation must be one of observation, or null"),
        (("bargaining", "pictures"), "game.observation must be one of information_state, observation, or null"),
        (("coordinated_mp",), "'coordinated_mp' shows its players no tensors"),
        (("crossword",), "'crossword' shows its players no tensors"),  # which it promises
        (("connect_four", None, [0, 3]), "a plane for each of the 2 seats, out of the 3 planes of 'connect_four', or"),
        (("phantom_ttt", None, [0, 1]), "out of the 0 planes of 'phantom_ttt'"),
    ],
)
def test_what_cannot_be_played_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        OpenSpielStates(*arguments)


def test_an_illegal_action_moves_nobody():
    game = OpenSpielStates("tic_tac_toe")
    game.reset(derive_seeds(10, 2))
    turn = game.step(torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"action 0 of seat 1 is illegal in tic_tac_toe after \[0\]; choose from \[1,"):
        game.step(torch.tensor([[0, 3], [0, 0]]))
    assert torch.equal(game.restore(game.state()).observation, turn.observation)


def test_bots_win_and_prevent_losses():
    game = pyspiel.load_game("connect_four")
    winning, threatened = game.new_initial_state(), game.new_initial_state()
    for action in (3, 0, 3, 0, 3, 0):
        winning.apply_action(action)  # three in column 3 for the first player, whose move it is
    for action in (3, 0, 3, 0, 3):
        threatened.apply_action(action)
    for noise in (0.0, 0.3, 0.99):
        assert look_ahead(winning, 0, noise) == search(winning, noise) == 3
        assert look_ahead(threatened, 1, noise) == 3


def test_wins():
    payoffs = torch.tensor([[1.0, -1.0], [0.0, 0.0], [-1.0, 1.0]])
    assert wins(payoffs, 0).tolist() == [1, 0, 0]
    assert wins(payoffs, 1).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("leduc_poker(players=9)", "return 2 ± 0.5 against random"),  # whoever folds early loses little
        ("universal_poker", "return 2 ± 0.5 against random"),
        ("dark_hex", "wins 0.750 of games against random"),
        ("goofspiel", "wins 0.750 of games against random"),
    ],
)
def test_games_in_which_payoffs_say_more_than_who_wins_show_payoffs(name, shown):
    metrics = {"win_rate/random": 0.75, "return/random/mean": 2.0, "return/random/stderr": 0.5}
    assert headline(metrics, OpenSpielStates(name), 128)[0] == shown


@pytest.mark.parametrize("name", LARGE)
def test_large_games_start_learn_are_evaluated_and_resume(name):
    """A step of PPO changes the policies, bots are met, and play goes on exactly from a checkpoint."""
    keys = ("game=openspiel_states", f"game.name={name}", "policy.hidden=[8]", "episodes=2")
    parts = build(compose_config("train", [*keys, "responder.num_envs=4", "responder.rollout_length=16"]))
    game, before = parts.game, profile_state(parts.profile)["policies"][0]
    assert (game.players, game.actions, game.observation_shape, game.bots, game.slow_bots) == LARGE[name]
    before = {key: value.clone() for key, value in before.items()}
    step = parts.responder.respond(parts.profile)
    assert step.work["steps"] == 64
    assert any((before[key] != value).any() for key, value in profile_state(parts.profile)["policies"][0].items())
    metrics = parts.evaluator.evaluate(parts.profile).metrics
    assert all(np.isfinite(list(metrics.values())))
    assert {each for each in metrics if each.startswith("win_rate/")} == {f"win_rate/{bot}" for bot in game.bots}
    stream, later = (Stream(deepcopy(game), derive_seeds(11, 4)) for _ in range(2))
    stream.play(parts.profile, 20)
    set_state(later, deepcopy(get_state(stream)))
    one, other = (each.play(parts.profile, 20)[0] for each in (stream, later))
    for field in ("observation", "action", "reward", "done"):
        assert torch.equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize(
    ("name", "better", "seat_planes", "policy"),
    [("connect_four", "connect_four", [0, 1], "BoardSpec"), ("hex", "openspiel_states", None, "MLPSpec")],
)
def test_a_game_that_does_not_fit_is_played_through_its_states(name, better, seat_planes, policy):
    """With its own preset, if it has one, and with keys that only such games have."""
    words = ["game=openspiel", f"game.name={name}", "game.observation=observation", "seed=3"]
    with pytest.warns(Notice, match=rf"^{name} has about 10\^\d+ histories.*so it is played with game={better}$"):
        config = compose_config("train", words)
    assert config["game"] == {
        "_target_": "games.openspiel.OpenSpielStates",
        "name": name,
        "observation": "observation",
        "seat_planes": seat_planes,
    }
    assert config["policy"]["_target_"].endswith(policy)
    assert config["responder"]["_target_"].endswith("PPO")
    assert config["seed"] == 3
    with pytest.warns(Notice), pytest.raises(Refused, match="OpenSpielStates is not in extensive form: TabularSpec"):
        build(compose_config("train", [*words, "policy=table"]))
    assert compose_config("train", ["game=openspiel"])["game"]["_target_"] == "games.openspiel.OpenSpiel"


def test_a_signal_during_the_games_against_the_last_bot_leaves_a_summary(tmp_path, monkeypatch):
    """It has the results against the other bots."""
    monkeypatch.setattr("games.openspiel.bots.search", lambda state, noise: signal.raise_signal(signal.SIGINT))
    keys = ("policy.summary=2", "policy.hidden=[4]", "responder.num_envs=4", "responder.rollout_length=8")
    done = marl_train(tmp_path, "game=connect_four", *keys, "iterations=1", "episodes=2", "run=c4")
    assert done.code == 130
    summary = RunFolder(tmp_path / "runs" / "c4").summary()
    assert (summary["exit"], summary["iterations"]) == ("iterations", 1)
    assert 0 <= summary["win_rate/look_ahead"] <= 1
    assert "win_rate/mcts_50" not in summary


def test_learned_responses_bound_exploitability():
    """From below, and in Kuhn poker within a tenth: uniform play can be exploited by 11/24."""
    arrays, states = OpenSpiel("kuhn_poker"), OpenSpielStates("kuhn_poker")
    torch.manual_seed(2)
    profile = MLPSpec(hidden=[16]).profile(states)
    with torch.no_grad():
        profile[0].network.weights[-1].zero_()  # uniform
    exact = measure_exactly(arrays, twin_uniform(arrays))["exploitability"]
    assert exact == pytest.approx(11 / 24)
    responder = PPO(states, MLPSpec(hidden=[16]), num_envs=128, rollout_length=16, learning_rate=1e-2, discount=1.0)
    bound = bound_exploitability(responder, profile, steps=60_000, episodes=2000)
    assert bound.steps >= 60_000
    assert 0.9 * exact < bound.exploitability < exact + 4 * bound.stderr


def test_new_weights_find_what_a_profile_that_does_not_mix_cannot():
    """Against players who always pass, a bet wins the pot. Their own weights never try one."""
    arrays, states = OpenSpiel("kuhn_poker"), OpenSpielStates("kuhn_poker")
    torch.manual_seed(2)
    profile, fresh = (MLPSpec(hidden=[16]).profile(states) for _ in range(2))
    always_pass, twin = torch.tensor([40.0, -40.0]), MLPSpec(hidden=[4]).profile(arrays)
    with torch.no_grad():
        for policy in (profile[0], twin[0]):
            policy.network.weights[-1].zero_()
            policy.network.biases[-1].copy_(always_pass)
    exact = measure_exactly(arrays, twin)["exploitability"]
    bounds = [
        bound_exploitability(
            PPO(states, MLPSpec(hidden=[16]), num_envs=128, rollout_length=16, learning_rate=1e-2, discount=1.0),
            profile,
            steps=12_000,
            episodes=1000,
            start=start,
        )
        for start in (None, fresh)
    ]
    assert bounds[0].exploitability == 0
    assert bounds[1].exploitability > 0.95 * exact
    assert choose_larger(bounds) == bounds[1]._replace(steps=bounds[0].steps + bounds[1].steps)


def twin_uniform(arrays):
    """Returns a profile that plays uniformly in a compiled game."""
    profile = MLPSpec(hidden=[4]).profile(arrays)
    with torch.no_grad():
        profile[0].network.weights[-1].zero_()
    return profile
