"""Messages from the page, which are checked strictly: type, keys, sizes and ranges."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from marl_engine.errors import Refused

LARGEST_MESSAGE = 1024  # characters
LARGEST_NUMBER = 2**31 - 1
Number: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class Strict(BaseModel):
    """A message without unknown keys, whose values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Start(Strict):
    """Opens a game, or the next comparison, for a person with a name."""

    type: Literal["start"]
    name: Name
    seat: Number = 0


class Watch(Strict):
    """Shows a recorded game again, by its number."""

    type: Literal["watch"]
    game: Number


class Press(Strict):
    """Chooses an action. In real time it is repeated until `release`."""

    type: Literal["press"]
    action: Number


class Release(Strict):
    """Ends the repetition of an action."""

    type: Literal["release"]


class Prefer(Strict):
    """Says which of two answers is better. `number` is that of the comparison, so that none is answered twice."""

    type: Literal["prefer"]
    number: Number
    answer: Literal["first", "second", "equal"]


class Leave(Strict):
    """Ends what is under way."""

    type: Literal["leave"]


Message: TypeAlias = Start | Watch | Press | Release | Prefer | Leave
MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse_message(text: str) -> Message:
    """Returns the message of a JSON text. Raises Refused."""
    try:
        return MESSAGE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Refused(f"the message is invalid{f' at {place}' if place else ''}: {first['msg']}") from error
