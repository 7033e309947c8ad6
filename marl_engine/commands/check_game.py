"""marl-train … check=true: checks a game and prints one line for each check."""

from collections.abc import Mapping
from typing import Any

from marl_engine.capabilities import capabilities_of
from marl_engine.configuration import instantiate
from marl_engine.errors import Refused
from marl_engine.rollout.game_contract import check_game


def report_contract(config: Mapping[str, Any], console: Any) -> int:
    """Checks the game of a configuration on the CPU. Raises Refused with the first error."""
    game = instantiate("game", config["game"], device="cpu")
    name = config["game"]["_target_"]
    if capabilities_of(game).text_preference is not None:
        raise Refused(f"check=true checks games that are stepped; {name} has prompts and a judge")
    for line in check_game(game):
        console.print(f"ok  {line}")
    console.print(f"{name} satisfies the contract of games")
    return 0
