"""marl-tournament: plays entrants against each other, rates them, and writes a report."""

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from warnings import warn

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.commands.process import FAILED, read_keys, run_command, show_help
from marl_engine.commands.train import CONFIG, RUNS
from marl_engine.configuration import instantiate
from marl_engine.errors import Halted, Notice, Refused, describe
from marl_engine.interruption import GRACE, INTERRUPTION, Interrupted
from marl_engine.runners import LOCAL
from marl_engine.types import Runner

REPORT = "report.html"
ANY_GAME = "game=matrix"  # a configuration needs one; here only its runner counts
SHOWN = 20  # entrants in the table on the screen
OPTIONS = ("games", "schedule", "rounds", "confidence", "exact", "seed")  # of a tournament
HELP = """\
marl-tournament: plays entrants against each other, rates them, and writes a report.

Usage: marl-tournament ENTRANT ... [key=value ...]

  marl-tournament runs/a runs/b random                    # writes runs/tournament/report.html
  marl-tournament runs/a runs/b random games=1000 run=cup
  marl-tournament runs random run=cup                     # all runs in a folder; plays only what is new
  marl-tournament runs/psro@population exact=true         # the members of a population, without sampling
  marl-tournament runs/a@120 runs/a@last confidence=0.95  # stops when the ranking is decided
  marl-tournament rock paper scissors game=matrix
  marl-tournament runs/a human:Ann random                 # with the games that Ann played by marl-play runs/a
  marl-tournament runs/a my_bots:careful schedule=field   # the first entrant against all others

Entrants
  runs/NAME            a run, with its best checkpoint; @last is the newest one, @120 that of iteration 120
  FOLDER               all runs in a folder
  runs/NAME@population the members of the population of a run, each one an entrant; @member_3 is one of them
  random               any legal action
  greedy               the action with the largest immediate reward (with shaping); it sees the state of the game
  look_ahead, mcts_50  bots of OpenSpiel games with perfect information
  rock                 an action of a game in normal form
  module:function      a Python function act(observation, legal, seat, noise) that returns actions, from arrays of N
                       rows; modules are imported from the current folder and PYTHONPATH
  rllib:PATH           a checkpoint of RLlib, trained in the environment of `games.rllib.to_rllib`; @NAME is one of its
                       modules. It is a pickle, which runs code when it is read
  reference            in a game of answers, the policy of the first run before training
  FOLDER               in a game of answers, an adapter that peft saved (as by marl-export), on the model of that run
  human:NAME           a person, by the games that they played on the page of marl-play with the runs that enter

All entrants must play one game: that of the runs, or game=NAME with its keys, as for marl-train.

Keys
  games        games of each pair, over all seatings (default: 200); at most, with confidence=
  schedule     round_robin (default), field: the first entrant against all others, swiss, or in games with more than
               two seats free_for_all: a different entrant in each seat
  rounds       of a Swiss tournament (default: enough for a single winner, and two more)
  confidence   such as 0.95: play on until the ranking by mean payoff is decided with this confidence
  exact        true: compute expectations over the whole game tree, and play nothing
  replays      number of matches of which a game is drawn in the report, if the game can be drawn (default: 2)
  run          name of the folder in runs/ (default: tournament)
  seed         random seed (default: 0)
  threads      default: OMP_NUM_THREADS, or the number of free cores
  runner       local (default), processes or ray, with its keys, such as runner.workers=4; plays pairs at the same time

In runs/NAME: report.html, tournament.json, ratings.csv, matches.csv, and matches.sqlite with every match. Ctrl-C keeps
all matches that were played; the same command goes on, and one with more entrants or games plays only what is new. The
same seed gives the same results.

Exit codes: 0 done, 1 failed, 2 refused, 128 + the number of a signal."""


@dataclass
class TournamentOptions:
    """The keys of the command; see `tournaments.Tournament`."""

    games: int = 200
    schedule: str = "round_robin"
    rounds: int | None = None
    confidence: float | None = None
    exact: bool = False
    replays: int = 2
    run: str = "tournament"
    seed: int = 0
    threads: int | None = None


def main() -> None:
    """The command. Exit codes: 0 done, 1 failed, 2 refused, 128 + the number of a signal."""
    run_command(tournament)


def tournament(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. Raises Refused."""
    if show_help(arguments, HELP, "entrants and key=value"):
        return 0
    keys = [word for word in arguments if "=" in word and not Path(word).exists()]
    words_of_game = [word for word in keys if word.startswith(("game=", "game."))]
    words_of_runner = [word for word in keys if word.startswith(("runner=", "runner."))]
    others = [word for word in keys if word not in (*words_of_game, *words_of_runner)]
    options = read_keys(others, TournamentOptions)
    entrants = [word for word in arguments if word not in keys]
    if not entrants:
        raise Refused("say who plays, like marl-tournament runs/a runs/b random")
    section = compose_config(CONFIG, words_of_game)["game"] if words_of_game else None
    runner: Runner = LOCAL
    if words_of_runner:
        runner = instantiate("runner", compose_config(CONFIG, [ANY_GAME, *words_of_runner])["runner"])
    return hold(entrants, section, options, runner)


def hold(
    words: Sequence[str], section: Mapping[str, Any] | None, options: TournamentOptions, runner: Runner = LOCAL
) -> int:
    """Plays a tournament and writes its files; returns the exit code. Raises Refused."""
    import torch

    from marl_engine.numerics.threads import choose_threads
    from marl_engine.tournaments import MatchStore, Tournament, enter
    from marl_engine.view.progress import new_console

    folder, console = tournament_folder(options.run), new_console()
    torch.set_num_threads(choose_threads(options.threads))
    field = enter(words, section)
    try:
        with closing(MatchStore(folder)) as store:
            event = Tournament(field, store, runner=runner, **{key: getattr(options, key) for key in OPTIONS})
            console.print(f"{len(field.entrants)} entrants, {describe_game(field.section)}, in {folder}")
            interrupted = not play(event, console)
            with INTERRUPTION.limit(GRACE) if interrupted else nullcontext():
                conclude(event, folder, options, console)
    except Halted as error:
        console.print(f"stopped: {describe(error)}; all matches that were played before are kept", style="red")
        return FAILED
    return INTERRUPTION.code if interrupted else 0


def tournament_folder(name: str) -> Path:
    """Returns the folder of a tournament. Raises Refused if the name is no folder in runs/, or of something else."""
    from marl_engine.tournaments.store import FILE

    path = RUNS / name
    if not name or Path(name).is_absolute() or {".", ".."} & set(name.split("/")):
        raise Refused(f"run must be the name of a folder inside {RUNS}/, not {name!r}")
    if path.exists() and not (path / FILE).exists() and not (path.is_dir() and not any(path.iterdir())):
        raise Refused(f"{path} is not the folder of a tournament; choose another run=")
    return path


def describe_game(section: Mapping[str, Any]) -> str:
    """Describes a game in a few words."""
    from marl_engine.commands.train import GAME_KEYS

    name = str(section["_target_"]).rpartition(".")[2]
    detail = next((section[key] for key in GAME_KEYS if section.get(key)), "")
    return f"{name} ({detail})" if detail else name


def play(event: Any, console: Any) -> bool:
    """Plays what is missing, with a progress display; returns whether it was played to the end."""
    try:
        play_with_display(event, console)
    except Interrupted:
        if len(INTERRUPTION.signals) > 1:
            raise
        console.print("all matches that were played are kept; the same command goes on")
        return False
    return True


def play_with_display(event: Any, console: Any) -> None:
    """Plays what is missing, and shows how far it is."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from marl_engine.view.progress import PLAIN_EVERY

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[text]}"))
    last = perf_counter()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as live:
        live.live.vertical_overflow = "crop"
        task = live.add_task("", text="")
        for now in event.play():
            text = f"{now.games:,} of {now.planned:,} games"
            live.update(task, description=now.stage, completed=now.games, total=max(now.planned, 1), text=text)
            if not console.is_terminal and perf_counter() - last > PLAIN_EVERY:
                last = perf_counter()
                console.print(f"{now.stage}: {text}")


def conclude(event: Any, folder: Path, options: TournamentOptions, console: Any) -> None:
    """Rates the entrants, writes the files, and prints the ranking."""
    from marl_engine.ratings import rank
    from marl_engine.tournaments.summary import write_files
    from marl_engine.view.report import write_report

    results = event.results()
    if not results.met.any():
        console.print("nobody has met anybody yet")
        return
    ranking = rank(results, options.seed)
    write_files(folder, event, ranking)
    replays = draw(event, ranking, folder, options.replays)
    write_report(folder / REPORT, f"Tournament {folder.name}", ranking, list_facts(event, ranking), replays)
    print_ranking(ranking, console)
    console.print(f"report {folder / REPORT}")


def list_facts(event: Any, ranking: Any) -> list[tuple[str, str]]:
    """Returns what was played, as lines (label, text) of the report."""
    from marl_engine.tournaments.summary import count_games

    games = "expectations over the whole game tree" if event.exact else f"{count_games(ranking):,}, seats balanced"
    if event.confidence is not None:
        games += f"; at most {event.games:,} a pair, until the ranking is decided with confidence {event.confidence}"
    keys = {key: value for key, value in event.field.section.items() if key != "_target_" and value is not None}
    setting = ", ".join(f"{key}={value}" for key, value in keys.items())
    return [
        ("game", f"{describe_game(event.field.section)}{f' · {setting}' if setting else ''}"),
        ("entrants", f"{len(event.field.entrants):,}"),
        ("games", games),
        ("schedule", event.schedule.replace("_", " ")),
        ("seed", f"{event.seed}; each pair plays the same deals in all seatings"),
    ]


def draw(event: Any, ranking: Any, folder: Path, count: int) -> list[tuple[str, Path]]:
    """Returns captions and files of replays; none if drawing fails."""
    from marl_engine.view.replays import draw_replays

    try:
        return draw_replays(event, ranking, folder, count)
    except (OSError, Halted):
        raise
    except Exception as error:  # errors of the game's drawing must not lose the report
        name = type(event.field.game).__name__
        warn(Notice(f"no replays: {name} cannot be drawn: {type(error).__name__}: {error}"), stacklevel=2)
        return []


def print_ranking(ranking: Any, console: Any) -> None:
    """Prints the best entrants with their ratings, the verdict on cycles, and remarks on ratings."""
    from rich.table import Table
    from rich.text import Text

    from marl_engine.view.report import format_value, rating_cells

    ratings = [
        each for each in ranking.ratings if each.key in ("payoff", "self_play", "elo", "skill_nash", "alpha_rank")
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("entrant", overflow="fold")
    for rating in ratings:
        table.add_column(rating.title, justify="right")
    columns = [rating_cells(rating, ranking.order) for rating in ratings]
    for place, each in enumerate(ranking.order[:SHOWN]):
        cells = []
        for rating, column in zip(ratings, columns, strict=True):
            width = (rating.high[each] - rating.low[each]) / 2
            spread = f" ±{format_value(width, max(abs(width), 1e-4))}" if width > 0 else ""
            cells.append(f"{column[place].text}{spread}")
        table.add_row(Text(ranking.results.names[each]), *cells)
    console.print(table, soft_wrap=False)
    if len(ranking.order) > SHOWN:
        console.print(f"… and {len(ranking.order) - SHOWN} more, in the report")
    console.print(ranking.cycles.verdict)
