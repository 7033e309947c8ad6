"""What the actions of classic games in normal form are called, of all players alike."""

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
    """The names of the actions of each player; None for a game that is no classic, or one of whatever numbers."""
    return [NAMES[name]] * players if name in NAMES else None
