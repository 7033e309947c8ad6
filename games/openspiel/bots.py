"""Bots for OpenSpiel games, as opponents in evaluations. They see the whole state.

`random` takes any legal action. `look_ahead` takes an action that wins at once, or else one after which the opponent
cannot win at once. `mcts_50` is OpenSpiel's Monte Carlo tree search with 50 simulations, each with one random rollout
(Kocsis and Szepesvári 2006). The latter two are for deterministic two-player zero-sum games without hidden information.
"""

from typing import Any

RANDOM, LOOK_AHEAD, MCTS = "random", "look_ahead", "mcts_50"
SIMULATIONS, EXPLORATION, MEGABYTES = 50, 2.0, 100
WIDEST = 40  # actions of a game in which `look_ahead` is quick: it visits up to their square
LONGEST = 1000  # actions times moves of a game in which search is quick


def bots_for(game: Any) -> tuple[str, ...]:
    """Returns the bots for every evaluation, weakest first: none if payoffs do not have a constant sum."""
    if not has_constant_sum(game):
        return ()
    return (RANDOM, LOOK_AHEAD) if is_open(game) and game.num_distinct_actions() <= WIDEST else (RANDOM,)


def slow_bots_for(game: Any) -> tuple[str, ...]:
    """Returns the bots for the last evaluation of a run."""
    quick = game.num_distinct_actions() * game.max_game_length() <= LONGEST
    return (MCTS,) if has_constant_sum(game) and is_open(game) and quick else ()


def has_constant_sum(game: Any) -> bool:
    """Whether the payoffs of several players always have the same sum."""
    from pyspiel import GameType

    constant = (GameType.Utility.ZERO_SUM, GameType.Utility.CONSTANT_SUM)
    return game.num_players() > 1 and game.get_type().utility in constant


def is_win_or_lose(game: Any) -> bool:
    """Whether there are two players, and payoffs from -1 to 1."""
    return game.num_players() == 2 and (game.min_utility(), game.max_utility()) == (-1.0, 1.0)


def is_open(game: Any) -> bool:
    """Whether a game has two players who move in turn, without chance and hidden information."""
    from pyspiel import GameType

    kind = game.get_type()
    return (
        game.num_players() == 2
        and kind.dynamics == GameType.Dynamics.SEQUENTIAL
        and kind.chance_mode == GameType.ChanceMode.DETERMINISTIC
        and kind.information == GameType.Information.PERFECT_INFORMATION
    )


def act(bot: str, state: Any, seat: int, noise: float) -> int:
    """Returns the action of a bot in a seat that decides, chosen by a uniform number in [0, 1)."""
    if bot == RANDOM:
        return pick(state.legal_actions(seat), noise)
    return look_ahead(state, seat, noise) if bot == LOOK_AHEAD else search(state, noise)


def pick(actions: list[int], noise: float) -> int:
    """Returns one of some actions."""
    return actions[int(noise * len(actions))]


def look_ahead(state: Any, seat: int, noise: float) -> int:
    """Returns an action that wins at once, else one that does not lose by the opponent's next move, else any."""
    actions = state.legal_actions()
    children = [state.child(action) for action in actions]
    wins = [action for action, child in zip(actions, children, strict=True) if gain(child, seat) > 0]
    if wins:
        return pick(wins, noise)
    safe = [action for action, child in zip(actions, children, strict=True) if not can_lose(child, seat)]
    return pick(safe or actions, noise)


def gain(state: Any, seat: int) -> float:
    """Returns what a seat has won when the game is over; 0 before that."""
    return float(state.player_return(seat)) if state.is_terminal() else 0.0


def can_lose(state: Any, seat: int) -> bool:
    """Whether a seat has lost, or the opponent's next move can make it lose."""
    if state.is_terminal():
        return gain(state, seat) < 0
    if state.current_player() == seat:
        return False
    return any(gain(state.child(action), seat) < 0 for action in state.legal_actions())


def search(state: Any, noise: float) -> int:
    """Returns the action of OpenSpiel's tree search, which is a function of state and noise."""
    import pyspiel

    seed = int(noise * 2**23)
    rollouts = pyspiel.RandomRolloutEvaluator(1, seed)
    bot = pyspiel.MCTSBot(state.get_game(), rollouts, EXPLORATION, SIMULATIONS, MEGABYTES, True, seed, False)
    return int(bot.step(state))
