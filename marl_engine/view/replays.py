"""Replays of a tournament: a few telling matches, of each of which a typical game is played again and drawn.

A game is a function of its entrants, its seed and its seating, so it is played again rather than stored. The typical
game is that of the first deals whose result is closest to the mean result of the match.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marl_engine.capabilities import capabilities_of
from marl_engine.ratings import Ranking
from marl_engine.ratings.results import Results
from marl_engine.tournaments import Tournament
from marl_engine.tournaments.entrants import Entrant
from marl_engine.tournaments.lineups.designs import williams_design
from marl_engine.tournaments.matches import deal_seeds, play_seated, seat_entrants, seatings
from marl_engine.view.plots import draw_frames, save_gif

DEALS = 4  # among whose games the typical one is looked for
MOST_BYTES = 1_000_000  # of a picture; a longer game is drawn with fewer frames


class Match(NamedTuple):
    """A match that is shown: two entrants, or a line-up whose first two count."""

    title: str
    entrants: tuple[int, ...]


class Replay(NamedTuple):
    """A game of a match: who sits in each seat, the number of its deal, and the payoffs (P,) of the seats."""

    seated: Sequence[Entrant]
    deal: int
    payoffs: np.ndarray


def draw_replays(tournament: Tournament, ranking: Ranking, folder: Path, count: int) -> list[tuple[str, Path]]:
    """Draws games of up to `count` matches; returns captions and GIF files. Empty if the game cannot be drawn."""
    game = tournament.field.game
    if capabilities_of(game).drawable is None:
        return []
    replays = []
    playing = [not each.games for each in tournament.field.entrants]  # people play no games
    for number, match in enumerate(choose_matches(ranking, playing)[:count]):
        replay = find_typical(tournament, ranking.results, match)
        copy = deepcopy(game)
        profile, take_seats = seat_entrants(copy, replay.seated)
        seeds = deal_seeds(tournament.seed, replay.deal, replay.deal + 1, entrants_of(tournament, match))
        path = folder / f"replay_{number}.gif"
        save_small_gif(draw_frames(copy, profile, seeds, take_seats=take_seats), path)
        replays.append((describe(match, replay), path))
    return replays


def choose_matches(ranking: Ranking, playing: Sequence[bool]) -> list[Match]:
    """Returns telling matches of the entrants that are `playing` (N,), the most telling first.

    In a team these are the pairs of entrants that earn most and least together. Otherwise they are the two best
    entrants, the largest lead of an entrant over one that is ranked above it, and the best against all others.
    """
    results = ranking.results
    pairs = [pair for pair in combinations(filter(playing.__getitem__, ranking.order), 2) if results.met[pair]]
    if not pairs:
        return []
    best, others = Match("The best and the next", pairs[0]), [pair for pair in pairs[1:] if pair[0] == pairs[0][0]]
    telling = [best]
    if results.team:
        ranked = sorted(pairs, key=lambda pair: -results.payoff[pair])
        telling = [Match("The best pair", ranked[0]), Match("The worst pair", ranked[-1])]
    elif results.lead[upset := min(pairs, key=lambda pair: results.lead[pair])] < 0:
        telling.append(Match("The biggest upset", upset[::-1]))
    every = [*telling, *(Match("The best and another", pair) for pair in others), *telling]
    matches = list({frozenset(each.entrants): each for each in every}.values())  # the last title of each pair
    if results.lineups is None:
        return matches
    return [each._replace(entrants=complete(results, each.entrants)) for each in matches]


def complete(results: Results, pair: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a pair with the others of the first line-up of different entrants in which it met."""
    assert results.lineups is not None
    different = results.lineups.entrants[results.lineups.different].tolist()
    lineup = next(each for each in different if set(pair) <= set(each))
    return (*pair, *(each for each in lineup if each not in pair))


def find_typical(tournament: Tournament, results: Results, match: Match) -> Replay:
    """Returns the game of the first deals with a result that is closest to the mean result of a match."""
    one, other = match.entrants[:2]
    mean = (results.payoff if results.team else results.lead)[one, other]
    entrants, replays = entrants_of(tournament, match), list[tuple[float, Replay]]()
    seeds = deal_seeds(tournament.seed, 0, min(DEALS, tournament.deals), entrants)
    for places in list_seatings(len(entrants), tournament.field.game.players):
        seated = [entrants[place] for place in places]
        payoffs = play_seated(tournament.field.game, seated, seeds)  # (D, P)
        own, others = (payoffs[:, places == place].mean(1) for place in (0, 1))
        far = np.abs((own if results.team else own - others) - mean)
        replays += [(distance, Replay(seated, deal, payoffs[deal])) for deal, distance in enumerate(far.tolist())]
    return min(replays, key=lambda each: each[0])[1]


def entrants_of(tournament: Tournament, match: Match) -> list[Entrant]:
    """Returns the entrants of a match."""
    return [tournament.field.entrants[each] for each in match.entrants]


def list_seatings(count: int, players: int) -> Iterator[np.ndarray]:
    """Yields who of a match sits in each seat, (P,), in each seating."""
    yield from williams_design(players) if count == players else np.where(seatings(players), 0, 1)


def describe(match: Match, replay: Replay) -> str:
    """Returns the caption of a replay."""
    seats = ", ".join(
        f"{entrant.name} {payoff:.4g}" for entrant, payoff in zip(replay.seated, replay.payoffs, strict=True)
    )
    return f"{match.title}. Seats and payoffs: {seats}. Deal {replay.deal + 1}."


def save_small_gif(frames: Sequence[np.ndarray], path: Path) -> None:
    """Saves frames (H, W, 3) as an animation of at most `MOST_BYTES`, for which every second one may be left out."""
    save_gif(frames, path)
    while path.stat().st_size > MOST_BYTES and len(frames) > 1:
        frames = frames[::2]
        save_gif(frames, path)
