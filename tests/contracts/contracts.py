"""The contracts that every game, policy and solver must satisfy.

Presets are enough for being tested: test_contracts.py runs all checks on all of them.
`settings` says which of them go together.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import cache
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from settings import configuration, preset, presets, responder_presets, section, smallest
from torch import Tensor

from marl_engine.commands.command_line.cli_config import compose_config
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.language.generation import complete
from marl_engine.policies.weights import load_profile_state, profile_state
from marl_engine.responders.batches import select_decisions
from marl_engine.responders.off_policy.sac import SAC
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.game_contract import ENOUGH, play_on, strange
from marl_engine.rollout.rollout import Trajectory
from marl_engine.rollout.seating import Seating
from marl_engine.runs.checkpoint import read, write
from marl_engine.runs.factory import Components, build
from marl_engine.types import Game, Policy, Progress, Turn

STRETCHES = (  # games that end within a few turns; in one the seats take turns, in another actions are numbers
    ("overcooked", "game.horizon=5"),
    ("recall", "game.delay=2"),
    ("leduc_poker",),
    ("openspiel_states", "game.name=tic_tac_toe"),
    ("control", "game.horizon=5"),
)

FEW = ("responder.num_envs=4", "responder.rollout_length=8")


def parts(*, device: str = "cpu", **choices: str) -> Components:
    """A small run with some presets chosen, in the smallest game that they go with."""
    setting = smallest(**choices)
    assert setting is not None, f"{choices} are refused everywhere"
    return build({**configuration(setting), "device": device})


@cache
def pairs_to_test() -> dict[str, list[str]]:
    """For every solver, responders that it goes with, the first of a class: one at least, and otherwise no pair whose
    presets set the same as those of another pair."""
    responders: dict[str, list[str]] = {solver: [] for solver in presets("solver")}
    seen = set()
    for solver, responder in product(responders, responder_presets()):
        setting = smallest(solver=solver, responder=responder)
        if setting is not None:
            kind = solver, preset("responder", responder)["responder"]["_target_"]
            sets = section(setting, "solver"), section(setting, "responder")
            if kind not in seen and (sets not in seen or not responders[solver]):
                responders[solver].append(responder)
            seen |= {kind, sets}
    return responders


def responders_of(solver: str) -> list[str]:
    """The presets of responders that a solver is tested with."""
    return pairs_to_test()[solver]


def check_reopenings(game: Game, longest: int = 2000) -> None:
    """Checks that a finished game opens the next one immediately, with a valid first observation.

    If first observations are continuous, they must lie within the range of those of `ENOUGH` copies, with a tolerance
    of a twentieth, in all but 2 % of their numbers.
    """
    endings = play_on(game, longest=longest)
    assert len(endings.lengths) >= ENOUGH
    if len(endings.openings.unique(dim=0)) > ENOUGH / 2:
        lowest, highest = endings.openings.amin(0), endings.openings.amax(0)
        slack = (highest - lowest) / 20
        inside = (lowest - slack <= endings.reopenings) & (endings.reopenings <= highest + slack)
        assert inside.float().mean() >= 0.98
    else:
        assert not strange(endings).any()


def check_policy(policy: Policy, game: Game) -> None:
    """Checks that distributions cover legal actions only, sum to one, and have consistent methods."""
    turn = game.reset(derive_seeds(4, 6))
    rows = policy.encode(turn.observation.flatten(0, 1), torch.arange(game.players).repeat(6))
    legal = turn.legal.flatten(0, 1).clone()
    legal[:, 1:3] = False
    distribution, _ = policy(rows, legal)
    actions = torch.arange(game.actions)
    log_probs = torch.stack([distribution.log_prob(action.expand(len(rows))) for action in actions], dim=-1)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(len(rows)))
    assert (log_probs[:, 1:3] == -torch.inf).all()
    plogp = torch.where(legal, log_probs.exp() * log_probs, torch.zeros(()))
    torch.testing.assert_close(distribution.entropy(), -plogp.sum(-1))
    assert distribution.kl(distribution).abs().max() == 0
    for noise in torch.linspace(0, 1 - 2**-23, 50):
        sampled, likely = distribution.sample(noise.expand(len(rows)))
        assert legal.gather(-1, sampled[:, None]).all()
        torch.testing.assert_close(likely, distribution.log_prob(sampled))
    assert torch.equal(distribution.mode(), log_probs.argmax(-1))


@cache
def compose(*keys: str) -> dict[str, Any]:
    """What keys of the command line compose."""
    return compose_config("train", list(keys))


def learn_with(policy: str, responder: str) -> list[Components]:
    """Builds small runs in which PPO trains a policy, for all games that suit both."""
    results = []
    for game, *keys in STRETCHES:
        config = compose(f"game={game}", "policy=network", f"responder={responder}", *keys, *FEW)
        with suppress(Refused):
            results.append(build({**config, "policy": compose("game=overcooked", f"policy={policy}")["policy"]}))
    return [each for each in results if isinstance(each.responder, PPO)]


def known_outcomes(trajectory: Trajectory, after: Turn) -> Tensor:
    """Returns the decisions (T, B, P) that are learned from: not those after which the seat does not act again, neither
    in the stretch nor after it, while its game goes on or is truncated as it waits.
    """
    known = torch.zeros_like(trajectory.acting)
    for turn, game, seat in trajectory.acting.nonzero().tolist():
        end = next((each for each in range(turn, len(known)) if trajectory.done[each, game]), None)
        acts = trajectory.acting[turn + 1 : None if end is None else end + 1, game, seat].any()
        if end is None:
            known[turn, game, seat] = acts | after.acting[game, seat]
        else:
            waits = trajectory.final_acting is not None and not trajectory.final_acting[end, game, seat]
            known[turn, game, seat] = acts | ~(trajectory.truncated[end, game] & waits)
    return known


def check_learning(components: Components) -> None:
    """Checks that before the first optimiser step, log-probabilities in learning equal those in play.

    Games end within stretches of play, and where seats move in turn some do not act.
    """
    profile, learner, openings = components.profile, components.responder, 0
    for _ in range(4):
        _, parts, _ = learner._play(profile, None)
        for policy, part in ((each, part) for each, several in parts.items() for part in several):
            batch, _ = learner._batches(learner._learner(policy), part)
            with torch.no_grad():
                now = batch.distribution(policy).log_prob(select_decisions(batch, batch.action))
            trajectory = part.trajectory
            then = part.flat(trajectory.log_prob)[part.flat(known_outcomes(trajectory, part.after))]
            torch.testing.assert_close(now.sort()[0], then.sort()[0], atol=1e-6, rtol=0)
            torch.testing.assert_close(now, select_decisions(batch, batch.log_prob), atol=1e-6, rtol=0)
            openings += int(trajectory.done[:-1].sum())
    assert openings


def check_saving(policy: Policy, other: Policy, game: Game) -> None:
    """Checks that weights loaded into another policy make it equal."""
    assert len(profile_state([policy])["policies"]) == 1
    load_profile_state([other], profile_state([policy]))
    turn = game.reset(derive_seeds(5, 3))
    noise = torch.full((3, game.players), 0.5)
    device = torch.device("cpu")
    decided = [Seating([each] * game.players, 3, device).decide(turn, noise) for each in (policy, other)]
    for first, second in zip(*decided, strict=True):
        assert torch.equal(first, second)


def check_words(game: Any) -> None:
    """Checks a judge: preferences are antisymmetric, 1/2 for equal answers, and independent of the batch.

    Held-out prompts are not among training prompts.
    """
    assert 0 < game.train_prompts < len(game.texts)
    assert not set(game.texts[: game.train_prompts]) & set(game.texts[game.train_prompts :])
    answers = ["", "yes", "A good day!", "A bad day, and not a short one.", "I hate it.", "Why not? " * 9]
    pairs = [(one, other) for one in answers for other in answers]
    numbers = torch.arange(len(pairs)) % len(game.texts)
    verdicts = np.asarray(game.prefers(numbers, *zip(*pairs, strict=True)))
    back = np.asarray(game.prefers(numbers, *zip(*[pair[::-1] for pair in pairs], strict=True)))
    assert verdicts.shape == (len(pairs),)
    assert verdicts.min() >= 0
    assert verdicts.max() <= 1
    np.testing.assert_allclose(verdicts + back, 1, atol=1e-12)
    np.testing.assert_allclose(
        [likes for likes, (one, two) in zip(verdicts, pairs, strict=True) if one == two], 0.5, atol=1e-12
    )
    assert verdicts.max() > 0.6
    alone = [game.prefers(numbers[[n]], *([each] for each in pair)) for n, pair in enumerate(pairs)]
    np.testing.assert_array_equal(np.concatenate(alone), verdicts)


def check_writer(policy: Any, other: Any, game: Any, seeds: int = 8) -> None:
    """Checks that answers have at most the maximal length, the log-probabilities of sampling, and depend on
    weights only.
    """
    numbers = torch.arange(seeds) % game.train_prompts
    completions = complete(policy, numbers, derive_seeds(4, seeds))
    assert completions.tokens.shape == completions.mask.shape == completions.log_prob.shape
    assert completions.tokens.shape[1] <= policy.length
    assert len(completions.texts) == seeds
    assert ((completions.tokens >= 0) & (completions.tokens < policy.vocabulary)).all()
    assert (completions.mask[:, 0]).all()
    assert not completions.tokens[~completions.mask].any()
    assert not completions.log_prob[~completions.mask].any()
    again = policy.log_probs(completions.rows, completions.tokens) * completions.mask
    assert again.requires_grad
    torch.testing.assert_close(again.detach(), completions.log_prob, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    load_profile_state([other], profile_state([policy]))
    one, two = (complete(each, numbers, derive_seeds(4, seeds)) for each in (policy, other))
    assert one.texts == two.texts
    assert torch.equal(one.log_prob, two.log_prob)
    assert not torch.equal(one.log_prob.sum(-1), completions.log_prob.sum(-1))


def check_solver(components: Components) -> None:
    """Checks that a solver yields progress without end, with consecutive numbers and finite metrics."""
    for index, progress in enumerate(
        islice(components.solver.solve(components.profile, components.responder, after=7), 3)
    ):
        assert progress.iteration == 8 + index
        assert len(progress.profile) == components.game.players
        assert all(torch.isfinite(torch.tensor(number)) for number in progress.metrics.values())


def check_going_on(make: Callable[[], Components], before: int = 3, total: int = 6) -> None:
    """Checks that a solver restored from a checkpoint, with the state of torch's generator, continues exactly."""
    ends = []
    for stops in ((total,), (before, total)):
        torch.manual_seed(0)
        components, done, state = make(), 0, None
        for stop in stops:
            if state is not None:
                components = make()
                load_profile_state(components.profile, state["profile"])
                components.responder.prepare(components.profile)
                set_state(components.responder, state["responder"])
                set_state(components.solver, state["solver"])
                torch.set_rng_state(state["torch"])
            last = advance_solver(components, done, stop)
            state, done = save_and_read(components), last.iteration
        ends.append((state["profile"]["policies"], last.metrics, dict(components.responder.work)))
    assert_alike(*ends)


def save_and_read(components: Components) -> dict[str, Any]:
    """Returns the state of profile, responder, solver and torch's generator, read from a checkpoint."""
    components.responder.prepare(components.profile)
    state = {
        "profile": profile_state(components.profile),
        "responder": get_state(components.responder),
        "solver": get_state(components.solver),
        "torch": torch.get_rng_state(),
    }
    with TemporaryDirectory() as folder:
        return read(write(Path(folder), 0, state))


def check_beginning_anew(components: Components) -> None:
    """Checks that a solver started again from iteration 0 has forgotten its state, if the responder is restored.

    A responder that learns from play continues its games.
    """
    if isinstance(components.responder, PPO | SAC):
        return
    components.responder.prepare(components.profile)
    start, ends = deepcopy((profile_state(components.profile), get_state(components.responder))), []
    for _ in range(2):
        load_profile_state(components.profile, start[0])
        set_state(components.responder, deepcopy(start[1]))
        last = advance_solver(components, 0, 3)
        ends.append(
            (deepcopy(profile_state(components.profile)["policies"]), last.metrics, dict(components.responder.work))
        )
        assert last.iteration >= 3
    assert_alike(*ends)


def advance_solver(components: Components, done: int, stop: int) -> Progress:
    """Runs a solver from iteration `done` to `stop` or the first one after it; returns the last progress."""
    for progress in components.solver.solve(components.profile, components.responder, after=done):
        if progress.iteration >= stop:
            return progress
    raise AssertionError("a solver goes on for ever")


def assert_alike(one: Any, other: Any) -> None:
    """Checks that two runs have equal weights, metrics and work."""
    for first, second in zip(one[0], other[0], strict=True):
        assert all(torch.equal(weights, second[name]) for name, weights in first.items())
    timeless = ({name: number for name, number in each[1].items() if "second" not in name} for each in (one, other))
    assert next(timeless) == next(timeless)
    assert one[2] == other[2]
