"""What every game, policy and solver must do; a preset in configs/ is enough to be held to it.

`presets` lists them; test_contracts.py runs all checks on all of them.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from marl_engine.build import Setting, load_policies, policies_state, setting
from marl_engine.commands.configuration import composed
from marl_engine.noise import spread
from marl_engine.play import Table, noise_for
from marl_engine.types import Game, Policy, Progress, Turn

CONFIGS = Path(__file__).parent.parent / "configs"
EXACT = {"game": "kuhn_poker", "policy": "table", "responder": "exact"}
CLIMBING = {"game": "iterated_prisoners_dilemma", "policy": "logits", "responder": "ascent"}
AT_ONCE = {"normal_form"}  # solvers of games in which everybody chooses once
SMALL = ["responder.games=4", "responder.turns=8", "responder.minibatches=2", "policy.hidden=[16,16]", "steps=1000"]


def presets(group: str) -> list[str]:
    """The names of a group's presets, those in its subfolders too."""
    folder = CONFIGS / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def is_exact(choices: Mapping[str, str]) -> bool:
    """Whether presets only go with games in sequence form: those that ask for tables and exact values."""
    solver = CONFIGS / "solver" / f"{choices.get('solver', 'self_play')}.yaml"
    return choices.get("policy") == "table" or choices.get("responder") == "exact" or "exact" in solver.read_text()


def asks(solver: str) -> str | None:
    """The responder that a solver's preset chooses, as it goes with no other; None where any will do."""
    chosen = re.search(r"override /responder: (\w+)", (CONFIGS / "solver" / f"{solver}.yaml").read_text())
    return chosen and chosen[1]


def parts(**choices: str) -> Setting:
    """A small setting with some presets chosen."""
    exact = is_exact(choices)
    climbing = not exact and not {"lola", "logits", "ascent"}.isdisjoint(choices.values())
    usual = EXACT if exact else CLIMBING if climbing else {"game": "overcooked"}
    if choices.get("solver") in AT_ONCE:
        usual = {**usual, "game": "matrix"}
    named = [f"{group}={name}" for group, name in {**usual, **choices}.items()]
    return setting(composed("train", [*named, *(["steps=1000"] if exact or climbing else SMALL)]))


def rows(turn: Turn, index: int) -> list[torch.Tensor]:
    """One game's part of a turn."""
    return [each[index] for each in turn if each is not None]


def random_actions(game: Game, turn: Turn, seed: int) -> torch.Tensor:
    """Legal actions (B, P), others in each game; the same for the same seed and place in the batch.

    Numbers (B, P, D) within the bounds of a game of continuous actions.
    """
    (noise,) = noise_for(game, spread(seed, len(turn.legal)), 0, 1)
    if getattr(game, "continuous", False):
        return game.low + (game.high - game.low) * noise
    cumulative = turn.legal.float().cumsum(-1)
    return (cumulative <= noise[..., None] * cumulative[..., -1:]).sum(-1)


def check_shapes(game: Game, games: int = 5) -> None:
    """Shapes and types of turns, at the start and later."""
    turn = game.reset(spread(0, games))
    for step in range(4):
        assert turn.observation.shape == (games, game.players, *game.observation_shape)
        assert turn.legal.shape == (games, game.players, game.actions)
        assert turn.legal.dtype == turn.acting.dtype == turn.done.dtype == turn.truncated.dtype == torch.bool
        assert turn.acting.shape == turn.reward.shape == turn.shaping.shape == (games, game.players)
        assert turn.reward.dtype == turn.shaping.dtype == torch.float32
        assert turn.done.shape == turn.truncated.shape == (games,)
        assert (turn.legal.any(-1) | ~turn.acting).all(), "a seat that is acting has a legal action"
        turn = game.step(random_actions(game, turn, step))


def check_batching(game: Game, games: int = 64, steps: int = 60) -> None:
    """Game b of a batch is the game that its seed alone gives."""
    alone, together = deepcopy(game), deepcopy(game)
    seeds = spread(1, games)
    for index in (0, games // 2, games - 1):
        one, many = alone.reset(seeds[index : index + 1]), together.reset(seeds)
        for step in range(steps):
            for mine, theirs in zip(rows(one, 0), rows(many, index), strict=True):
                assert torch.equal(mine, theirs), f"game {index}, step {step}"
            actions = random_actions(game, many, step)
            one, many = alone.step(actions[index : index + 1]), together.step(actions)


def check_restart(game: Game, longest: int = 2000) -> None:
    """Games that are done open the next one at once, with an observation that some game opens with.

    Where openings are drawn from a continuum, it lies in the range of some of them, give or take a twentieth.
    """
    turn = game.reset(spread(2, 256))
    openings = {each.numpy().tobytes() for each in turn.observation}
    drawn = getattr(game, "continuous", False)
    lowest, highest = turn.observation.amin(0), turn.observation.amax(0)
    slack = (highest - lowest) / 20
    ended = 0
    for step in range(longest):
        turn = game.step(random_actions(game, turn, step))
        for copy in turn.done.nonzero()[:, 0].tolist():
            seen = turn.observation[copy]
            if drawn:
                assert ((lowest - slack <= seen) & (seen <= highest + slack)).all()
            else:
                assert seen.numpy().tobytes() in openings
            ended += 1
        if ended >= 256:
            return
    raise AssertionError(f"only {ended} games ended in {longest} steps")


def check_restore(game: Game) -> None:
    """A saved state goes on as the game itself does, and saving shares no memory with it."""
    turn = game.reset(spread(3, 3))
    for step in range(30):
        turn = game.step(random_actions(game, turn, step))
    saved, other = game.state(), deepcopy(game)
    kept = {name: each.clone() for name, each in saved.items()}
    for step in range(30, 50):
        turn = game.step(random_actions(game, turn, step))
    assert all(torch.equal(saved[name], kept[name]) for name in kept)
    again = other.restore(saved)
    for step in range(30, 50):
        again = other.step(random_actions(game, again, step))
    for mine, theirs in zip(turn, again, strict=True):
        assert (mine is None and theirs is None) or torch.equal(mine, theirs)


def check_policy(policy: Policy, game: Game) -> None:
    """Distributions are over legal actions alone, sum to one, are sampled by noise, and their numbers agree."""
    turn = game.reset(spread(4, 6))
    shown = policy.encode(turn.observation.flatten(0, 1), torch.arange(game.players).repeat(6))
    legal = turn.legal.flatten(0, 1).clone()
    legal[:, 1:3] = False
    distribution, _ = policy(shown, legal)
    actions = torch.arange(game.actions)
    log_probs = torch.stack([distribution.log_prob(action.expand(len(shown))) for action in actions], dim=-1)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(len(shown)))
    assert (log_probs[:, 1:3] == -torch.inf).all()
    plogp = torch.where(legal, log_probs.exp() * log_probs, torch.zeros(()))
    torch.testing.assert_close(distribution.entropy(), -plogp.sum(-1))
    assert distribution.kl(distribution).abs().max() == 0
    for noise in torch.linspace(0, 1 - 2**-23, 50):
        chosen, likely = distribution.sample(noise.expand(len(shown)))
        assert legal.gather(-1, chosen[:, None]).all()
        torch.testing.assert_close(likely, distribution.log_prob(chosen))
    assert torch.equal(distribution.mode(), log_probs.argmax(-1))


def check_saving(policy: Policy, other: Policy, game: Game) -> None:
    """Weights put into another policy make it the same one."""
    assert len(policies_state([policy])["policies"]) == 1
    load_policies([other], policies_state([policy]))
    turn = game.reset(spread(5, 3))
    noise = torch.full((3, game.players), 0.5)
    device = torch.device("cpu")
    decided = [Table([each] * game.players, 3, device).decide(turn, noise) for each in (policy, other)]
    for mine, theirs in zip(*decided, strict=True):
        assert torch.equal(mine, theirs)


def check_solver(made: Setting) -> None:
    """A solver yields progress for ever, numbered on from where it is told to, and its numbers are finite."""
    for index, progress in enumerate(islice(made.solver.solve(made.profile, made.responder, after=7), 3)):
        assert progress.iteration == 8 + index
        assert len(progress.profile) == made.game.players
        assert all(torch.isfinite(torch.tensor(number)) for number in progress.metrics.values())


def check_going_on(make: Callable[[], Setting], before: int = 3, whole: int = 6) -> None:
    """Its state, put into a new one beside those of profile and responder, goes on as if it had not stopped."""
    ends = []
    for stops in ((whole,), (before, whole)):
        torch.manual_seed(0)
        made, done, saved = make(), 0, None
        for stop in stops:
            if saved is not None:
                made = make()
                load_policies(made.profile, saved[0])
                made.responder.restore(made.profile, saved[1])
                made.solver.restore(saved[2])
            last = advanced(made, done, stop)
            saved = deepcopy((policies_state(made.profile), made.responder.state(made.profile), made.solver.state()))
            done = last.iteration
        ends.append((saved[0]["policies"], last.metrics, made.responder.steps))
    assert_alike(*ends)


def check_beginning_anew(made: Setting) -> None:
    """A solver that is told to begin again forgets what it did."""
    start, ends = deepcopy(policies_state(made.profile)), []
    for _ in range(2):
        load_policies(made.profile, start)
        steps = made.responder.steps
        last = advanced(made, 0, 3)
        ends.append((deepcopy(policies_state(made.profile)["policies"]), {}, made.responder.steps - steps))
        assert last.iteration >= 3
    assert_alike(*ends)


def advanced(made: Setting, done: int, stop: int) -> Progress:
    """Solves on from iteration `done` to `stop`, or what comes first after it; the last progress."""
    for progress in made.solver.solve(made.profile, made.responder, after=done):
        if progress.iteration >= stop:
            return progress
    raise AssertionError("a solver goes on for ever")


def assert_alike(one: Any, other: Any) -> None:
    """Two ends of a run: weights, metrics, steps."""
    for mine, theirs in zip(one[0], other[0], strict=True):
        assert all(torch.equal(weights, theirs[name]) for name, weights in mine.items())
    timeless = ({name: number for name, number in each[1].items() if "second" not in name} for each in (one, other))
    assert next(timeless) == next(timeless)
    assert one[2] == other[2]
