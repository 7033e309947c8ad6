"""Creates the components of a run from its configuration.

In each section `_target_` names a class, and the other keys are its fields.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import torch

from marl_engine.capabilities import JudgedResponder, PopulationSolver, capabilities_of, missing_members
from marl_engine.configuration import check_keys, class_of, declared_types, instantiate
from marl_engine.errors import Notice, Refused
from marl_engine.evaluation import Evaluator, make_evaluator
from marl_engine.policies.mixtures.geometric import freeze
from marl_engine.policies.weights import load_profile_state
from marl_engine.responders.learners.learner import ChallengingSolver, ConcurrentSolver
from marl_engine.responders.overlap import check_policies
from marl_engine.runners import LOCAL, BackgroundRunner, make_gang, overlapping
from marl_engine.runners.resident import is_worker
from marl_engine.runs.folder import RunFolder
from marl_engine.runs.initial import warm_start
from marl_engine.runs.inputs import localise
from marl_engine.runs.requirements import check_parts
from marl_engine.types import Game, Metrics, Profile, Responder, Runner, Solver


def check_device(name: str) -> None:
    """Raises Refused unless a name is cpu, or a CUDA device of this machine."""
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or name.endswith(":"):
        raise Refused(f"device must be one of cpu, cuda, cuda:0, cuda:1, …, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise Refused(f"device={name}: torch finds {torch.cuda.device_count()} CUDA devices here; use device=cpu")


@dataclass
class Components:
    """The parts of a run."""

    game: Game
    profile: Profile
    responder: Responder
    solver: Solver
    runner: Runner
    reference: Profile  # a copy of the initial profile
    evaluator: Evaluator
    opponent: Profile | None  # that the solver sets the learner, if it sets one
    costs: Callable[[], Metrics] = dict  # returns the costs of a judge in all sessions, or of the game in this one
    quote: Callable[[], str] = str  # returns the learner's last answer, if it generates text
    population: PopulationSolver | None = None  # the solver, if it grows a population


def make_profile(spec: Any, game: Game) -> Profile:
    """Returns a policy for each seat. Raises Refused if policies of this kind cannot play the game."""
    check_parts(type(spec).__name__, declared_types(type(spec).profile), game=game)
    try:
        profile: Profile = spec.profile(game)
    except ValueError as error:
        raise Refused(str(error)) from error
    return profile


def special_key(runner: Runner) -> str:
    """Returns the key of a runner that not all responders and policies go with; empty if it has none."""
    return "runner.overlap=true" if overlapping(runner) else "runner.learners above 1" if make_gang(runner) else ""


def make_responder(
    section: Mapping[str, Any], game: Game, spec: Any, runner: Runner = LOCAL, *, seed: int, device: str
) -> Responder:
    """Returns the responder of a section of the configuration. Raises Refused if game or policy do not suit it."""
    kind = class_of(section.get("_target_"))
    arguments: dict[str, Any] = {"game": game, "network": spec, "seed": seed, "device": device}
    if "runner" in declared_types(kind):
        arguments["runner"] = runner
    elif key := special_key(runner):
        raise Refused(
            f"{key} needs a responder that learns from games played by workers, such as responder=ippo or mappo, not "
            f"{kind.__name__}"
        )
    if is_dataclass(kind):
        keys = {key: value for key, value in section.items() if key != "_target_"}
        check_keys(keys, kind, "responder.", excluded=arguments)
    check_parts(kind.__name__, declared_types(kind), game=game, network=spec)
    responder: Responder = instantiate("responder", section, **arguments)
    return responder


def check_solver(solver: Solver, profile: Profile, responder: Responder) -> None:
    """Raises Refused if profile or responder do not suit the solver."""
    check_parts(type(solver).__name__, declared_types(type(solver).solve), responder=responder)
    try:
        solver.solve(profile, responder, LOCAL)  # checks its arguments; the generator is not iterated
    except ValueError as error:
        raise Refused(str(error)) from error


def build(config: Mapping[str, Any]) -> Components:
    """Returns the components of a run. Seeds torch, so that initial policies are a function of the seed."""
    torch.manual_seed(config["seed"])
    check_device(config["device"])
    game = instantiate("game", config["game"], device=config["device"])
    network = instantiate("policy", config["policy"])
    profile = make_profile(network, game)
    if config.get("init"):
        warm_start(profile, game, str(config["init"]), config["policy"]["_target_"])
    for policy in profile:
        policy.to(config["device"])
    runner = instantiate("runner", config["runner"])
    responder = make_responder(config["responder"], game, network, runner, seed=config["seed"], device=config["device"])
    solver = instantiate("solver", config["solver"])
    check_solver(solver, profile, responder)
    if key := special_key(runner):
        check_policies(profile, key)
    reference = freeze(profile)
    opponent = solver.load_opponent(profile) or reference if isinstance(solver, ChallengingSolver) else None
    evaluator = make_evaluator(game, reference, runner, config["episodes"], config["device"], opponent)
    parts = Components(game, profile, responder, solver, runner, reference, evaluator, opponent)
    if (metered := capabilities_of(game).metered) is not None:
        parts.costs = metered.costs
    if not missing_members(responder, JudgedResponder):
        judge: Any = responder
        parts.costs, parts.quote = judge.costs, judge.quote
    if not missing_members(solver, PopulationSolver):
        grower: Any = solver
        parts.population = grower
    return parts


def note_idle_workers(parts: Components) -> None:
    """Warns if the workers of a runner get no games to learn from, no learners, nor the matches of a population."""
    undivided = vars(parts.responder).get("shard", 0) is None and parts.population is None
    undivided &= not isinstance(parts.solver, ConcurrentSolver)
    if undivided and isinstance(parts.runner, BackgroundRunner) and not is_worker():
        text = (
            "the workers of the runner do not play for learning, as responder.shard is not set; it is the number of "
            "games, or prompts, in a job, such as responder.shard=16"
        )
        warnings.warn(Notice(text), stacklevel=2)


def local_config(folder: RunFolder) -> dict[str, Any]:
    """Returns the configuration of a run, with the paths of copies in its folder. Raises Refused, OSError.

    The copies are its input files, and the weights that it was initialised with.
    """
    config, _ = localise(folder.config(), folder.path)
    return {**config, "init": str(folder.path / "initial") if config.get("init") else None}


def load_components(folder: RunFolder) -> Components:
    """Returns the components of a run, with the profile of its newest checkpoint. Raises Refused, FileNotFoundError."""
    parts = build(local_config(folder))
    _, state, _ = folder.latest()
    load_profile_state(parts.profile, state["profile"])
    return parts
