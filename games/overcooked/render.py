"""Renders a kitchen from above in flat colours. Sprites are drawn once at a larger size, scaled down and cached.

All drawing stays within tiles, so that few pixels change between steps and animations compress well. Lengths are in
tiles: (0, 0) is the upper left corner of a tile, (1, 1) the lower right.
"""

from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from games.overcooked import rules
from games.overcooked.rules import COOK, DISH, NOTHING, ONION, SOUP, TOMATO, Kitchen

SCALE = 48  # size of a tile in pixels
FINE = 4  # sprites are drawn this many times larger, for smooth edges
STRIP = 0.6  # height of the caption's strip
TILES = ("#eff2f4", "#e3e9ec")
SHADE = "#d3dade"  # shadow of a counter on the floor
TOP, SEAM, FRONT = "#dccbb2", "#d0bda1", "#b39c7c"  # of a counter
CRATE, INSIDE, TRAY, CHINA = "#b9855a", "#7d5638", "#9db4c4", "#fbfcfd"
STOVE, IRON, HOLLOW, RAIL = "#4b535d", "#8d98a4", "#343b44", "#6a747f"
MAT, MAT_EDGE, BRASS = "#58a79b", "#7dc0b5", "#f2c75c"
SKIN, EYE, WHITE, LEAF = "#f6d2b0", "#3b3230", "#ffffff", "#5d9a54"
GOLD, RED = "#ecb84f", "#e0574b"  # onions, tomatoes
BROTH = ("", "#f6dd9c", "#f2a48f", "#f4c08f")  # colours of soups: empty, onions, tomatoes, both
FIRE, READY = "#f59f45", "#6ccf7f"
DARK, PALE, TRACK = "#39424c", "#f4f6f7", "#56616d"  # the strip
HATS = ("#3f7fbf", "#e8743b", "#55a868", "#8d6cc0", "#cf5f93", "#b59b3a")
AHEAD = ((0, -1), (0, 1), (1, 0), (-1, 0))  # north, south, east, west


@cache
def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's built-in typeface."""
    return ImageFont.load_default(pixels)


@cache
def mix_colours(colour: str, tint: str = "#000000", share: float = 0.28) -> str:
    """Mixes a colour with a share of a tint. The default gives the colour of its outline."""
    pairs = zip(ImageColor.getrgb(colour), ImageColor.getrgb(tint), strict=True)
    return "#" + "".join(f"{int(first + share * (second - first)):02x}" for first, second in pairs)


class Pen:
    """Draws shapes on a tile; lengths are in tiles, from the upper left corner."""

    def __init__(self, scale: int) -> None:
        self.scale, self.unit = scale, scale * FINE
        self.sheet = Image.new("RGBA", (self.unit, self.unit))
        self.draw = ImageDraw.Draw(self.sheet)

    def around(self, x: float, y: float, radius: float) -> list[float]:
        """Returns the bounding square of a circle."""
        return [self.unit * edge for edge in (x - radius, y - radius, x + radius, y + radius)]

    def disc(self, x: float, y: float, radius: float, fill: str, line: float = 0.0) -> None:
        """Draws a disc around (x, y); `line` is the width of its outline."""
        self.draw.ellipse(self.around(x, y, radius), mix_colours(fill))
        self.draw.ellipse(self.around(x, y, radius - line), fill)

    def bulb(self, x: float, y: float, across: float, down: float, fill: str) -> None:
        """Draws a drop around (x, y) with its tip upwards."""
        turn = np.linspace(0, 2 * np.pi, 60)
        right = x + 1.15 * across * np.sin(turn) * np.abs(np.sin(turn / 2)) ** 0.8
        outline = self.unit * np.stack([right, y - down * np.cos(turn)], 1)
        self.draw.polygon(outline.ravel().tolist(), fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: str, bend: float = 0.0) -> None:
        """Draws a rectangle with corners of radius `bend`; adjacent boxes do not overlap."""
        corners = [self.unit * left, self.unit * top, self.unit * right - 1, self.unit * bottom - 1]
        self.draw.rounded_rectangle(corners, self.unit * bend, fill)

    def path(self, points: list[tuple[float, float]], fill: str, thick: float) -> None:
        """Draws a line with round ends."""
        self.draw.line([(self.unit * x, self.unit * y) for x, y in points], fill, int(self.unit * thick), "curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, thick / 2, fill)

    def ring(self, x: float, y: float, radius: float, fill: str, thick: float, share: float = 1.0) -> None:
        """Draws a share of a ring around (x, y), clockwise from the top."""
        self.draw.arc(self.around(x, y, radius), -90, -90 + 360 * share, fill, int(self.unit * thick))

    def word(self, x: float, y: float, word: str, size: float, fill: str) -> None:
        """Draws text centred at (x, y)."""
        letters = font(int(self.unit * size))
        left, top, right, bottom = letters.getbbox(word)
        corner = (self.unit * x - (left + right) / 2, self.unit * y - (top + bottom) / 2)
        self.draw.text(corner, word, fill, letters, stroke_width=self.unit // 100)

    def scale_down(self) -> Image.Image:
        """Returns the tile in its final size."""
        return self.sheet.resize((self.scale, self.scale), Image.Resampling.BOX)


def draw(kitchen: Kitchen, row: np.ndarray, caption: str = "", scale: int = SCALE) -> np.ndarray:
    """Returns a picture (H, W, 3) uint8 of a state (numbers,), with a strip for caption and clock at the bottom.

    `scale` is the size of a tile in pixels.
    """
    height = kitchen.height
    frame = background(kitchen.terrain.tobytes(), height, scale).copy()
    for cell, sprite in sprites(kitchen, row.tolist(), scale):
        x, y = divmod(cell, height)
        frame.paste(sprite, (scale * x, scale * y), sprite)
    write_strip(frame, scale * height, caption, int(row[0]) / kitchen.horizon, scale)
    return np.array(frame)


def sprites(kitchen: Kitchen, row: list[int], scale: int) -> Iterator[tuple[int, Image.Image]]:
    """Yields cells and the pictures to draw there on the background."""
    items = 1 + COOK * kitchen.players
    clocks = items + kitchen.terrain.size
    for cell in kitchen.counters.tolist():
        if row[items + cell] != NOTHING:
            yield cell, item_on_counter(row[items + cell], scale)
    for pot, cell in enumerate(kitchen.pots.tolist()):
        soup, clock = row[items + cell], row[clocks + pot]
        yield cell, stove(soup, clock, int(kitchen.cook_time[soup]), scale)
    for seat in range(kitchen.players):
        cell, direction, hand = row[1 + COOK * seat : 1 + COOK * (seat + 1)]
        yield cell, cook(seat, direction, hand, scale)


def write_strip(frame: Image.Image, top: int, caption: str, share: float, scale: int) -> None:
    """Draws the caption, scaled to fit, under a bar for the elapsed share of the game."""
    bar, margin = max(scale // 16, 1), scale // 4
    frame.paste(TRACK, (0, top, frame.width, top + bar))
    frame.paste(FIRE, (0, top, round(share * frame.width), top + bar))
    size = scale / 3
    room = (frame.width - 2 * margin) / max(font(int(size)).getlength(caption), 1)
    letters = font(max(int(size * min(room, 1)), 1))
    ImageDraw.Draw(frame).text((margin, (top + bar + frame.height) / 2), caption, PALE, letters, "lm")


@lru_cache(16)
def background(terrain: bytes, height: int, scale: int) -> Image.Image:
    """Returns the empty kitchen with space for the strip."""
    strip = 2 * round(scale * STRIP / 2)
    frame = Image.new("RGB", (len(terrain) // height * scale, height * scale + strip), DARK)
    for cell, kind in enumerate(terrain):
        x, y = divmod(cell, height)
        if kind == rules.FLOOR:
            sprite = floor(TILES[(x + y) % 2], terrain[cell - 1] != rules.FLOOR, scale)
        else:
            sprite = counter(kind, y + 1 < height and terrain[cell + 1] == rules.FLOOR, scale)
        frame.paste(sprite, (scale * x, scale * y))
    return frame


def floor(colour: str, shadow: bool, scale: int) -> Image.Image:
    """Returns a floor tile, with or without the shadow of a counter above."""
    pen = Pen(scale)
    pen.box(0, 0, 1, 1, colour)
    if shadow:
        pen.box(0, 0, 1, 0.09, SHADE)
    return pen.scale_down()


def counter(kind: int, front: bool, scale: int) -> Image.Image:
    """Returns a counter tile with built-in objects, and with a front if there is floor below."""
    pen = Pen(scale)
    pen.box(0, 0, 1, 1, SEAM)
    pen.box(0.02, 0.02, 0.98, 0.98, TOP, 0.06)
    if front:
        pen.box(0, 0.9, 1, 1, FRONT)
    if kind in (rules.ONIONS, rules.TOMATOES):
        crate(pen, ONION if kind == rules.ONIONS else TOMATO)
    elif kind == rules.DISHES:
        pen.box(0.08, 0.08, 0.92, 0.86, TRAY, 0.1)
        for y in (0.55, 0.49, 0.43):
            draw_item(pen, DISH, 0.5, y, 0.29)
    elif kind == rules.HATCH:
        bell(pen)
    return pen.scale_down()


def crate(pen: Pen, content: int) -> None:
    """Draws a crate of onions or tomatoes."""
    pen.box(0.1, 0.08, 0.9, 0.86, CRATE, 0.08)
    pen.box(0.17, 0.15, 0.83, 0.79, INSIDE, 0.04)
    for x, y in ((0.34, 0.32), (0.66, 0.32), (0.34, 0.63), (0.66, 0.63), (0.5, 0.48)):
        draw_item(pen, content, x, y, 0.17)


def bell(pen: Pen) -> None:
    """Draws the serving hatch: a green mat with a bell."""
    pen.box(0.03, 0.03, 0.97, 0.88, MAT_EDGE, 0.1)
    pen.box(0.08, 0.08, 0.92, 0.83, MAT, 0.07)
    pen.disc(0.5, 0.26, 0.06, BRASS)
    pen.draw.pieslice(pen.around(0.5, 0.56, 0.26), 180, 360, BRASS)
    pen.box(0.2, 0.6, 0.8, 0.68, WHITE, 0.04)


def draw_item(pen: Pen, item: int, x: float, y: float, radius: float) -> None:
    """Draws an onion, a tomato, a dish or a soup around (x, y)."""
    if item == ONION:
        pen.bulb(x, y, radius, radius, mix_colours(GOLD))
        for across, colour in ((0.88, GOLD), (0.5, "#d29a38"), (0.36, GOLD)):
            pen.bulb(x, y, radius * across, radius * 0.86, colour)
    elif item == TOMATO:
        pen.disc(x, y, radius, RED, radius * 0.14)
        for right, down in ((-0.4, -0.55), (0.4, -0.55), (0, -0.1)):
            pen.path([(x, y - radius * 0.5), (x + radius * right, y + radius * down)], LEAF, radius * 0.24)
    else:
        pen.disc(x, y, radius, CHINA, radius * 0.1)
        pen.disc(x, y, radius * 0.7, "#dfe6eb")
        if item >= SOUP:
            broth(pen, item, x, y, radius * 0.76)


def broth(pen: Pen, soup: int, x: float, y: float, radius: float, clock: bool = False) -> None:
    """Draws a soup in a round vessel, with a dot for each ingredient.

    With `clock`, the dots are at the top, to leave space for a number below.
    """
    onions, tomatoes = soup & 3, (soup >> 2) - 1
    pen.disc(x, y, radius, BROTH[(onions > 0) + 2 * (tomatoes > 0)])
    count = onions + tomatoes
    for number in range(count):
        angle, reach = 2 * np.pi * number / count, radius * 0.5 * (count > 1)
        right, up, size = reach * np.sin(angle), reach * np.cos(angle), radius * 0.36
        if clock:
            right, up, size = 0.52 * radius * (number - (count - 1) / 2), 0.52 * radius, radius * 0.24
        pen.disc(x + right, y - up, size, GOLD if number < onions else RED, size * 0.3)


@lru_cache(256)
def item_on_counter(item: int, scale: int) -> Image.Image:
    """Returns an item on a counter."""
    pen = Pen(scale)
    pen.disc(0.5, 0.5, 0.3, FRONT)
    draw_item(pen, item, 0.5, 0.46, 0.3 if item >= DISH else 0.26)
    return pen.scale_down()


@lru_cache(1024)
def stove(soup: int, clock: int, time: int, scale: int) -> Image.Image:
    """Returns a pot with its content and, if it cooks, the remaining steps or a sign that it is ready."""
    pen = Pen(scale)
    pen.box(0.04, 0.03, 0.96, 0.88, STOVE, 0.1)
    pen.disc(0.5, 0.46, 0.33, IRON, 0.03)
    pen.disc(0.5, 0.46, 0.27, HOLLOW)
    if soup == NOTHING:
        return pen.scale_down()
    broth(pen, soup, 0.5, 0.46, 0.27, clock=0 <= clock < time)
    if 0 <= clock < time:
        pen.ring(0.5, 0.46, 0.4, RAIL, 0.07)
        pen.ring(0.5, 0.46, 0.4, FIRE, 0.07, clock / time)
        pen.word(0.5, 0.535, str(time - clock), 0.3, DARK)
    elif clock >= time:
        pen.ring(0.5, 0.46, 0.4, READY, 0.07)
        pen.disc(0.79, 0.74, 0.17, READY, 0.02)
        pen.path([(0.71, 0.74), (0.77, 0.8), (0.87, 0.68)], WHITE, 0.055)
    return pen.scale_down()


@lru_cache(1024)
def cook(seat: int, direction: int, item: int, scale: int) -> Image.Image:
    """Returns a cook from above, with its seat number (from 1) on its hat and an item in its hands."""
    pen = Pen(scale)
    right, down = AHEAD[direction]

    def at(aside: float, ahead: float) -> tuple[float, float]:
        """Returns the position of a point that is given relative to the middle of the tile and the cook's direction."""
        return 0.5 + ahead * right - aside * down, 0.5 + ahead * down + aside * right

    hat = HATS[seat % len(HATS)]
    shoulders = [at(-0.22, -0.18), at(0.22, -0.18)]
    pen.path(shoulders, mix_colours(hat), 0.4)
    pen.path(shoulders, mix_colours(hat, WHITE, 0.75), 0.36)
    if item != NOTHING:
        draw_item(pen, item, *at(0, 0.275), 0.215)
    for side in (-1, 1):
        hand = at(0.24 * side, 0.22)
        pen.path([at(0.33 * side, -0.1), hand], hat, 0.13)
        pen.disc(*hand, 0.08, SKIN, 0.02)
    pen.disc(*at(0, -0.06), 0.2, SKIN, 0.02)
    for side in (-1, 1):
        pen.disc(*at(0.08 * side, 0.08), 0.03, EYE)
    pen.disc(*at(0, -0.2), 0.22, hat, 0.025)
    pen.word(*at(0, -0.2), str(seat + 1), 0.3, WHITE)
    return pen.scale_down()
