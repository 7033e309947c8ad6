"""Action names of classic games in normal form; all players have the same."""

NAMES = {
    "matching_pennies": ("heads", "tails"),
    "rock_paper_scissors": ("rock", "paper", "scissors"),
    "biased_rock_paper_scissors": ("rock", "paper", "scissors"),
    "prisoners_dilemma": ("cooperate", "defect"),
    "chicken": ("dare", "swerve"),
    "stag_hunt": ("stag", "hare"),
    "battle_of_the_sexes": ("opera", "football"),
}


def names_of(name: str, players: int) -> list[tuple[str, ...]] | None:
    """Returns the action names of each player; None if the game has none."""
    return [NAMES[name]] * players if name in NAMES else None
