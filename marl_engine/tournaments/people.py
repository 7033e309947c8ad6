"""People as entrants: the games that they played on the page of marl-play, which are kept in the folder of a run.

A person plays nothing during a tournament. A game counts if the run enters with the checkpoint that played it, and if
the policies drew their actions, as they do in tournaments. It is a deal of its own, in one seating.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marl_engine.errors import Refused
from marl_engine.ratings.results import tally_payoffs
from marl_engine.runs.play_records import PERSON, GameRecord, find_games, read_records
from marl_engine.runs.saved_weights import MEMBER, split_address


class Partner(NamedTuple):
    """A run that enters: it may have played with people."""

    folder: Path
    iteration: int  # of its checkpoint
    digest: str  # of the entrant
    member: str = ""  # of its population, such as member_3; empty: the policies of the checkpoint


class RecordedGame(NamedTuple):
    """A game of a person with another entrant, given by its digest."""

    other: str
    tally: np.ndarray  # (9,) with the person as the first


def games_of(person: str, partners: Sequence[Partner]) -> tuple[RecordedGame, ...]:
    """Returns the games of a person, such as human:Ann, that count, oldest first for each partner.

    Raises Refused if there are none.
    """
    games = [
        RecordedGame(partner.digest, tally_game(record, person))
        for partner in partners
        for record in read_records(find_games(partner.folder))
        if person in record.players and is_of(record, partner) and not record.greedy
    ]
    if not games:
        raise Refused(
            f"{person} has played no games with the runs that enter, with these checkpoints and sampled actions; play "
            f"some by marl-play runs/NAME{others(person, partners)}"
        )
    return tuple(games)


def is_of(record: GameRecord, partner: Partner) -> bool:
    """Whether the policies of a run that enters played a game, as members of its population or themselves."""
    parts = {split_address(name)[1] for name in record.players if not name.startswith(PERSON)}
    members = {part for part in parts if part.startswith(MEMBER)}
    return record.iteration == partner.iteration and members == ({partner.member} - {""})


def tally_game(record: GameRecord, person: str) -> np.ndarray:
    """Returns the tally (9,) of a game, with the person as the first entrant; payoffs are means over seats."""
    own = np.array([name == person for name in record.players])
    payoffs = np.array(record.payoffs)
    return tally_payoffs(payoffs[own].mean(keepdims=True)[None], payoffs[~own].mean(keepdims=True)[None])


def others(person: str, partners: Sequence[Partner]) -> str:
    """Returns a clause with the names of other people in the records of runs; empty if there are none."""
    records = [record for partner in partners for record in read_records(find_games(partner.folder))]
    names = sorted({name for each in records for name in each.players if name.startswith(PERSON)} - {person})
    return f". Their records have {', '.join(names)}" if names else ""
