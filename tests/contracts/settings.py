"""Which games, solvers, policies and responders go together: every combination of presets, as the factory sees it.

Hydra takes a third of a second to compose a configuration; there are tens of thousands of combinations, so presets are
merged here as plain dicts, in the order of configs/train.yaml. A test holds that to what Hydra composes.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from toy_model import build_model

from marl_engine.capabilities import capabilities_of
from marl_engine.commands.command_line import preset_files
from marl_engine.commands.command_line.cli_config import drop_unknown_keys
from marl_engine.commands.command_line.preset_files import keys_of_classes
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.runs.factory import check_solver, make_profile, make_responder
from marl_engine.types import Game, Profile, Responder

APART = ("rllib",)  # presets that need an environment of their own; see tests/rllib


def presets(group: str) -> list[str]:
    """The names of a group's presets, without those that are tested elsewhere."""
    return [name for name in preset_files.presets(group) if name not in APART]


HOME = TemporaryDirectory()  # of files that presets need from outside, as long as tests run
CONFIGS = Path(__file__).parents[2] / "configs"
SERVED = ("preference/endpoint",)  # games whose judge is somebody else's program
EXTRAS = ("pettingzoo/", "control/mujoco")  # games of packages; see test_pettingzoo_presets and test_control
FOREIGN = tuple(name for name in presets("game") if name.startswith(EXTRAS))
GAMES = tuple(name for name in presets("game") if name not in FOREIGN)
GROUPS = ("game", "solver", "policy", "responder")
SMALL = {  # keys that make a run small, where a setting has them
    "responder.num_envs": 4,
    "responder.rollout_length": 8,
    "responder.minibatches": 2,
    "responder.epochs": 2,
    "responder.batch": 8,
    "responder.memory": 50,
    "responder.warm_up": 16,
    "responder.prompts": 4,
    "policy.hidden": [16, 16],
    "solver.oracle_steps": 2,
    "solver.draws": 3,
    "solver.batch": 32,
    "solver.updates": 2,
    "solver.pairs": 1,
    "solver.pair_steps": 2,
    "solver.generation": 2,
    "solver.active": 2,
    "policy.rank": 2,
    "game.horizon": 8,
    "game.workers": 0,
}


class Setting(NamedTuple):
    """The names of four presets."""

    game: str
    solver: str
    policy: str
    responder: str


@cache
def toy_model() -> Path:
    """The folder of a language model of fifty words."""
    return build_model(Path(HOME.name))


@cache
def own_preferences() -> Path:
    """A file of a preference matrix."""
    path = Path(HOME.name) / "preferences.csv"
    path.write_text("0.5,0.9,0.2\n0.1,0.5,0.9\n0.8,0.1,0.5\n")
    return path


@cache
def from_outside() -> dict[tuple[str, str], dict[str, Any]]:
    """For presets that need a file of the user's, a model that is downloaded or short episodes: keys that tests set."""
    return {
        ("game", "preference/file"): {"game.payoffs": str(own_preferences())},
        ("game", "preference/learned"): {"game.judge": preset("game", "preference/sentiment")["game"]["judge"]},
        ("game", "pettingzoo"): {"game.env": "mpe2.simple_v3", "game.arguments": {"max_cycles": 8}},
        ("policy", "language"): {"policy.model": str(toy_model()), "policy.length": 4},
    }


@cache
def preset(group: str, name: str) -> dict[str, Any]:
    """What a preset sets, from the top of the configuration, with the presets that it builds on; {} for none."""
    path = CONFIGS / group / f"{name}.yaml"
    if not path.is_file():
        return {}
    own: Any = OmegaConf.to_container(OmegaConf.load(path))
    bases = [each.rpartition(f"/{group}/")[2] for each in own.pop("defaults", []) if isinstance(each, str)]
    if "@package _global_" not in path.read_text():
        own = {group: own}
    return merge(*(preset(group, each) for each in bases), own)


def merge(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Trees of dicts, the later ones over the earlier ones."""
    merged: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def resolve(tree: Any, steps: int | None, horizon: int | None) -> Any:
    """The tree with numbers in place of references to the number of steps, a share of it, and the horizon of the game,
    all that presets have.
    """
    if isinstance(tree, dict):
        return {key: resolve(value, steps, horizon) for key, value in tree.items()}
    if isinstance(tree, str) and (share := re.fullmatch(r"\$\{share:([\d.]+),\$\{steps\}\}", tree)):
        return None if steps is None else float(share[1]) * steps
    return {"${steps}": steps, "${game.horizon}": horizon}.get(tree, tree) if isinstance(tree, str) else tree


class Source(NamedTuple):
    """A preset that a setting reads, and the part of the configuration that it writes."""

    group: str
    name: str


@cache
def sources(setting: Setting) -> tuple[Source, ...]:
    """The presets that a setting reads, in the order of configs/train.yaml; later ones overrule earlier ones."""
    game, solver, policy, responder = setting
    read = [("responder", responder), ("policy", policy), ("game", game), ("solver", solver), ("pace", policy)]
    read += [("suit", f"{policy}_{responder}"), ("team", f"{policy}_{solver}"), ("tune", f"{game}_{responder}")]
    read += [("fit", f"{solver}_{responder}"), ("combination", f"{game}_{solver}_{responder}")]
    return tuple(Source(*each) for each in read if preset(*each))


@cache
def sources_of(read: tuple[Source, ...], name: str) -> tuple[Source, ...]:
    """Those that write a section of the configuration, or the key of this name."""
    return tuple(each for each in read if name in preset(*each))


def section(setting: Setting, name: str) -> str:
    """A section of the configuration of a setting, small and with what `from_outside` has, as JSON."""
    read = sources(setting)
    counts = sources_of(read, "steps")
    steps = preset(*counts[-1])["steps"] if counts else None
    horizon = preset("game", setting.game)["game"].get("horizon")
    return composed_section(name, getattr(setting, name), sources_of(read, name), steps, horizon)


@cache
def composed_section(name: str, own: str, read: tuple[Source, ...], steps: int | None, horizon: int | None) -> str:
    """The section `name`, whose own preset is `own`, from the presets that write it."""
    values = resolve(merge(*(preset(*each)[name] for each in read)), steps, horizon)
    for key, value in {**from_outside().get((name, own), {}), **SMALL}.items():
        part, _, last = key.partition(".")
        if part == name and last in values:
            values[last] = value
    written = keys_of_classes(preset(name, own)[name], values, name)
    return json.dumps(drop_unknown_keys(values, lambda: written, f"{name}."))


@cache
def make(name: str, values: str, **parts: Any) -> Any:
    """The object of a section, given as JSON. Raises Refused."""
    return instantiate(name, json.loads(values), **parts)


class Parts(NamedTuple):
    """A game with the policies of a kind that play it."""

    game: Game
    spec: Any
    profile: Profile


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, or the sentence by which it refuses."""
    try:
        return function(*arguments)
    except Refused as refusal:
        return str(refusal)


@cache
def make_parts(game: str, policy: str) -> Parts:
    """The game and a profile of sections given as JSON. Raises Refused where such policies cannot play it."""
    made, spec = make("game", game, device="cpu"), make("policy", policy)
    return Parts(made, spec, make_profile(spec, made))


@cache
def responder_of(game: str, policy: str, responder: str) -> Responder | str:
    """The responder of sections given as JSON, or why it does not go with such policies and games."""
    parts = make_parts(game, policy)
    made: Responder | str = attempt(
        lambda: make_responder(json.loads(responder), parts.game, parts.spec, seed=0, device="cpu")
    )
    return made


@cache
def parts_of(game: str, policy: str) -> Parts | str:
    """The game and a profile of sections given as JSON, or why such policies cannot play it."""
    parts: Parts | str = attempt(make_parts, game, policy)
    return parts


def refusals(game: str, policy: str) -> Mapping[Setting, str | None]:
    """Of all settings with a game and a policy, why they are refused; None where they are not."""
    settings = [Setting(game, *each) for each in product(presets("solver"), [policy], presets("responder"))]
    return {each: refusal(each) for each in settings}


@cache
def refusal(setting: Setting) -> str | None:
    """Why game, policies, responder and solver of a setting do not go together; None where they do."""
    game, policy = section(setting, "game"), section(setting, "policy")
    parts = parts_of(game, policy)
    if isinstance(parts, str):
        return parts
    responder = responder_of(game, policy, section(setting, "responder"))
    if isinstance(responder, str):
        return responder
    message: str | None = attempt(check_solver, make("solver", section(setting, "solver")), parts.profile, responder)
    return message


def make_game(name: str) -> Game:
    """The game of a preset, small where it can be."""
    game: Game = make("game", section(Setting(name, "self_play", "table", "exact"), "game"), device="cpu")
    return game


@cache
def games_by_size() -> list[str]:
    """The smallest presets of games, one of each class, number of players and set of capabilities.

    Those in sequence form come by its size, first those in which somebody has seen something. Of the others, those of
    two players come first.
    """

    def size(name: str) -> tuple[int, int, str]:
        game = make_game(name)
        extensive = capabilities_of(game).extensive
        if extensive is None:
            return 2, abs(game.players - 2), name
        return int(len(extensive.form.parent) == extensive.players), extensive.form.sequences, name

    def kind(name: str) -> tuple[Any, ...]:
        game = make_game(name)
        return type(game), game.players, *(each is not None for each in capabilities_of(game))

    first: dict[tuple[Any, ...], str] = {}
    for name in sorted(GAMES, key=size):
        first.setdefault(kind(name), name)
    return list(first.values())


def chosen_by(path: Path, group: str) -> list[str]:
    """The presets of a group that the file of a preset chooses in its defaults list."""
    entries: Any = OmegaConf.to_container(OmegaConf.load(path)).get("defaults", [])  # type: ignore[union-attr]
    pairs = [pair for entry in entries if isinstance(entry, dict) for pair in entry.items()]
    return [str(name) for key, name in pairs if key.split("/")[-1].split()[-1] == group]


@cache
def policies_for(game: str) -> list[str]:
    """The presets of policies: the one that a game chooses, the one that runs have without a choice, all others."""
    first = [*chosen_by(CONFIGS / "game" / f"{game}.yaml", "policy"), *chosen_by(CONFIGS / "train.yaml", "policy")]
    return list(dict.fromkeys([*first, *presets("policy")]))


def responder_presets() -> list[str]:
    """The presets of responders: the one that runs have without a choice, all others."""
    return list(dict.fromkeys([*chosen_by(CONFIGS / "train.yaml", "responder"), *presets("responder")]))


@cache
def smallest(**choices: str) -> Setting | None:
    """The setting of the smallest game in which all chosen presets go together; None where they never do."""
    solver = choices.get("solver", "self_play")
    responders = [choices["responder"]] if "responder" in choices else responder_presets()
    for game in [choices["game"]] if "game" in choices else games_by_size():
        for policy in [choices["policy"]] if "policy" in choices else policies_for(game):
            for setting in (Setting(game, solver, policy, responder) for responder in responders):
                if refusal(setting) is None:
                    return setting
    return None


def configuration(setting: Setting) -> dict[str, Any]:
    """What the factory builds a small run from."""
    return {"runner": preset("runner", "local")["runner"], "seed": 0, "device": "cpu", "episodes": 8} | {
        group: json.loads(section(setting, group)) for group in GROUPS
    }
