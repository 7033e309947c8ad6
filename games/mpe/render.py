"""Draws a particle world from above: landmarks, agents, and the words that they say."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from games.mpe.world import GOALS, TAG, World, messages_of

SIZE, STRIP = 420, 30  # of the picture and of the caption's strip, in pixels
FINE = 3  # discs are drawn this many times larger, for smooth edges
REACH = 1.5  # coordinates from -REACH to REACH are visible; what is beyond is drawn at the edge
PAPER, EDGE, DARK, PALE = "#fafbfc", "#2f3740", "#39424c", "#f4f6f7"
LANDMARK, AGENT, HUNTER, PREY = "#8b949e", "#4c78c8", "#d9534f", "#4caf6d"


@cache
def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's built-in typeface."""
    return ImageFont.load_default(pixels)


def draw(world: World, row: np.ndarray, integers: list[int], caption: str = "") -> np.ndarray:
    """Returns a picture (SIZE + STRIP, SIZE, 3) uint8 of a state: its row of numbers and its integers."""
    board = Image.new("RGB", (SIZE * FINE, SIZE * FINE), PAPER)
    pen, places = ImageDraw.Draw(board), place_entities(world, row)
    for entity in sorted(range(len(world.radius)), key=lambda each: -world.radius[each]):  # small ones on top
        x, y = places[entity]
        radius = world.radius[entity] * SIZE * FINE / (2 * REACH)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour_of(world, entity, integers), EDGE, FINE)
        if entity < world.agents and world.speaks[entity]:
            pen.text((x, y), word_of(world, row, entity), EDGE, font(15 * FINE), "mm")
    frame = Image.new("RGB", (SIZE, SIZE + STRIP), DARK)
    frame.paste(board.resize((SIZE, SIZE), Image.Resampling.BOX))
    ImageDraw.Draw(frame).text((10, SIZE + STRIP / 2), caption, PALE, font(15), "lm")
    return np.array(frame)


def place_entities(world: World, row: np.ndarray) -> np.ndarray:
    """Returns the centres (E, 2) of all entities in pixels of the board, the y axis pointing down."""
    positions = row[: 2 * len(world.radius)].reshape(-1, 2).clip(-REACH, REACH)
    return (1 + positions * (1, -1) / REACH) * SIZE * FINE / 2


def colour_of(world: World, entity: int, integers: list[int]) -> str:
    """Returns the colour of an entity. An agent whose goal another one knows has the colour of that goal."""
    if world.goals:
        if entity >= world.agents:
            return mix(world.colours[entity - world.agents])
        if entity == 1 or world.goals > 1:
            return mix(world.colours[integers[GOALS + 1 - entity]] + 0.2)
        return LANDMARK
    if entity >= world.agents:
        return LANDMARK
    if world.rewards == TAG:
        return HUNTER if entity < world.hunters else PREY
    return AGENT


def mix(colour: np.ndarray) -> str:
    """Returns a colour (3,) of numbers from 0 to 1 in hexadecimal digits."""
    return "#" + "".join(f"{int(255 * min(part, 1)):02x}" for part in colour)


def word_of(world: World, row: np.ndarray, agent: int) -> str:
    """Returns the letter of the word that an agent says most strongly; empty if it is silent."""
    first = messages_of(world) + world.words * agent
    message = row[first : first + world.words]
    return chr(ord("A") + int(message.argmax())) if message.any() else ""
