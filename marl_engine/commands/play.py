"""marl-play: opens a local page on which people play with or against the policies of a run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marl_engine.commands.process import read_keys, run_command, show_help
from marl_engine.errors import Refused
from marl_engine.interruption import INTERRUPTION, Interrupted
from marl_engine.numerics.checks import check_number

RIVALS = ("trained", "initial")
HELP = """\
marl-play: opens a local page on which people play with or against the policies of a run.

Usage: marl-play RUN [key=value ...], where RUN is the folder of a run, or a part of it as in marl-tournament.

  marl-play runs/kitchen                       # Overcooked, by keyboard, with the trained partner
  marl-play runs/leduc                         # a game of OpenSpiel, in turns
  marl-play runs/smol rival=initial            # two answers side by side; your choices become a comparison file
  marl-play runs/kitchen ticks=8 greedy=true
  marl-play runs/cook@member_3                 # a member of the population; @last and @120 are other checkpoints

Games are recorded in RUN/play/games.jsonl and can be watched again on the page. Comparisons are recorded in
RUN/play/comparisons.jsonl. The best checkpoint of the run plays. Ctrl-C ends the server.

Keys
  ticks        steps a second: of games in real time, and of the policies' moves in others (default: 5)
  greedy       true: the policies take their most probable actions
  rival        in preference games: trained (default) compares two answers of the trained policy, initial compares its
               answer with one of the policy before training
  seed         random seed of the games (default: a new one each time)
  host         address to listen at (default: 127.0.0.1, which only this machine reaches)
  port         port to listen at (default: 0, a free one)

Exit codes: 0 done, 2 refused, 128 + the number of a signal."""


@dataclass
class PlayOptions:
    """The keys of the command."""

    ticks: float = 5.0
    greedy: bool = False
    rival: str = "trained"
    seed: int | None = None
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        check_number("ticks", self.ticks, least=0.1, most=60)
        check_number("port", self.port, least=0, below=2**16, whole=True)
        if self.seed is not None:
            check_number("seed", self.seed, least=0, below=2**32, whole=True)
        if self.rival not in RIVALS:
            raise Refused(f"rival must be one of {', '.join(RIVALS)}, not {self.rival!r}")


def main() -> None:
    """The command. Exit codes: 0 done, 2 refused, 128 + the number of a signal."""
    run_command(play)


def play(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. Raises Refused."""
    if show_help(arguments, HELP, "the folder of a run and key=value"):
        return 0
    keys = [word for word in arguments if "=" in word and not Path(word).exists()]
    runs = [word for word in arguments if word not in keys]
    if len(runs) != 1:
        raise Refused(f"say which run, one and not {len(runs)}: marl-play runs/NAME")
    return serve(Path(runs[0]), read_keys(keys, PlayOptions))


def serve(run: Path, options: PlayOptions) -> int:
    """Serves the page until a signal; returns the exit code. Raises Refused."""
    import torch

    from marl_engine.commands.plot import nearby_runs
    from marl_engine.numerics.threads import choose_threads
    from marl_engine.play.room import Room
    from marl_engine.play.server import bind, make_app, make_server, own_hosts
    from marl_engine.runs.play_records import FOLDER
    from marl_engine.runs.players import load_player
    from marl_engine.runs.saved_weights import split_address

    home, _ = split_address(run)
    if not (home / "config.yaml").is_file():
        raise Refused(f"there is no run at {str(home)!r}{nearby_runs(home)}")
    listener = bind(options.host, options.port)
    with listener:
        torch.set_num_threads(choose_threads(None))
        player, folder = load_player(run), home / FOLDER
        room = Room(player, folder, options.ticks, options.greedy, options.rival, options.seed)
        server = make_server(make_app(room, own_hosts(options.host)))
        name, port = listener.getsockname()[:2]
        print(f"{run}, iteration {player.iteration}")
        print(f"open    http://{f'[{name}]' if ':' in name else name}:{port}/", flush=True)
        try:
            server.run(sockets=[listener])
        except Interrupted:
            print(f"closed; what was played is in {folder}", file=sys.stderr)
            return INTERRUPTION.code
    return 0
