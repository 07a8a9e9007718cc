"""Fills crops of any size with a network of one size.

A crop that is not larger than the network's side is padded by reflection. In a larger one, each part that fits a window
with some context around it is filled at full size. For parts that do not fit, the whole crop is first filled shrunk,
then windows at full size cover them in a fixed order: each sees what those before it painted and takes its broad
colours from the shrunk fill, so that distant windows agree too; where windows overlap, one fades into the next.

Nothing under a crop's `known == False` is ever read: the same surroundings give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, TypeAlias

import cv2
import numpy as np
from pydantic import Field

from pipeline.errors import ImageError
from pipeline.fill.shared.blend import RING, anchored, cloned, feathered, matched, near
from pipeline.fill.shared.crops import GREY, Span, mean, parts
from pipeline.fill.shared.shrink import enlarge, shrink
from pipeline.models.batch_size import Batches
from pipeline.records import Crop, Floats, Mask, Patch, Rgb, seed_of
from pipeline.spec import FieldError, spec

ENOUGH: Final = 1.5
"""A crop that is at most this many times the network's side is filled shrunk and enlarged: sharp enough."""
BROAD: Final = 4.0
"""Sigma, in pixels of the shrunk fill, below which detail is the windows' own."""
_PIXELS_AT_ONCE: Final = 4_000_000
"""Pixels of crops that are filled at one time, so that their windows share a batch; always at least one crop."""


@dataclass(frozen=True, kw_only=True)
class FillWindow:
    """What a network sees.

    pixels: HWC uint8 RGB; where `mask` is True, they are the mean of the known pixels or a sketch made from them. mask:
    HW bool, True = to be painted. seed: 0..2**31-1, from the image id. label: of the largest segment under the crop's
    mask; may be empty.
    """

    pixels: Rgb
    mask: Mask
    seed: int
    label: str = ""


Paint: TypeAlias = Callable[[Sequence[FillWindow]], Sequence[Rgb]]
"""Paints windows of one shape, at most `batch`: HWC uint8 RGB each, in order. Its pixels outside the mask are only
compared with their true colours."""
_Filling: TypeAlias = Generator[FillWindow, Rgb, Rgb]
"""Yields one window after another, is sent each one painted, and returns the filled crop."""


@spec
class Windowing:
    """Which windows a network takes, and how they become part of a crop."""

    side: Annotated[int, Field(ge=16, le=4096)] = 512
    """Longer side in pixels of what the network sees; a multiple of `multiple`."""
    multiple: Annotated[int, Field(ge=1, le=256)] = 8
    """Sides of windows are multiples of this many pixels."""
    fixed: bool = False
    """The network takes only windows of side x side; smaller crops are padded by reflection."""
    overlap: Annotated[int, Field(ge=0)] = 64
    """Pixels that windows share where a hole is larger than one window, and the context around a part that fits one; at
    most a quarter of `side`. 0: a larger hole is filled shrunk and enlarged, without detail."""
    colour: bool = True
    """Shift the painted colours to agree with what is around the hole."""
    blend: Literal["none", "feather", "poisson"] = "none"
    """Of the border, inside the hole: `feather` fades to the nearest known colours within `feather` pixels, `poisson`
    puts the painted gradients on known colours."""
    feather: Annotated[int, Field(ge=0, le=256)] = 4
    """Pixels from the border over which `blend: feather` fades."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    """Windows of one shape in one call. More pays on a GPU; on the CPU with 1 a window's answer never depends on
    others."""

    def __post_init__(self) -> None:
        if self.overlap > self.side // 4:
            expected = f"a whole number from 0 to {self.side // 4} (a quarter of side)"
            raise FieldError("overlap", f": expected {expected}, got {self.overlap}")
        if self.side % self.multiple:
            raise FieldError("side", f": expected a multiple of {self.multiple} (multiple), got {self.side}")


class WindowedFill:
    """A loaded fill whose network paints windows: crops to patches, one each."""

    def __init__(self, windowing: Windowing, paint: Paint) -> None:
        self._windowing, self._paint, self._batches = windowing, paint, Batches()

    def __call__(self, crops: Sequence[Crop]) -> list[Patch]:
        """Raises ImageError when the network's answer is not a picture of its window's size, or memory does not suffice
        for one window."""
        done: list[Rgb] = []
        for some in _portions(crops):
            done.extend(self._filled(some))
        return [Patch(x=c.x, y=c.y, pixels=p, mask=c.mask) for c, p in zip(crops, done, strict=True)]

    def _filled(self, crops: Sequence[Crop]) -> list[Rgb]:
        """Fill all crops together: each yields the window it needs next, and windows of one shape share a call."""
        fillings = [_fill(self._windowing, crop) for crop in crops]
        done: dict[int, Rgb] = {}
        answers: dict[int, Rgb | None] = dict.fromkeys(range(len(crops)))
        while answers:
            wanted: dict[int, FillWindow] = {}
            for position, answer in answers.items():
                try:
                    # A generator's first `send` takes None.
                    wanted[position] = fillings[position].send(answer)  # type: ignore[arg-type]
                except StopIteration as end:
                    done[position] = end.value
            answers = dict(self._painted(wanted))
        return [done[position] for position in range(len(crops))]

    def _painted(self, wanted: dict[int, FillWindow]) -> Iterator[tuple[int, Rgb]]:
        windowing, alike = self._windowing, dict[tuple[int, int], list[int]]()
        padded = {position: _padded(window, windowing) for position, window in wanted.items()}
        for position, window in padded.items():
            alike.setdefault((window.mask.shape[0], window.mask.shape[1]), []).append(position)

        def work(some: Sequence[int]) -> Sequence[Rgb]:
            windows = [padded[position] for position in some]
            return _checked(self._paint(windows), windows)

        for shape, positions in alike.items():
            for some, answers in self._batches.each(positions, shape, windowing.batch, work):
                for position, answer in zip(some, answers, strict=True):
                    height, width = wanted[position].mask.shape
                    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
                    yield position, answer[top : top + height, left : left + width]


@dataclass(frozen=True)
class _Place:
    """A window's box in a crop: top, left, bottom, right in pixels, the last two exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def box(self) -> tuple[slice, slice]:
        return np.s_[self.top : self.bottom, self.left : self.right]

    def holds(self, span: Span, margin: int, height: int, width: int) -> bool:
        """Whether a part lies inside with this margin around it, as far as a crop of height x width has it."""
        bottom, right = span.top + span.mask.shape[0], span.left + span.mask.shape[1]
        return (
            self.top <= max(0, span.top - margin)
            and self.left <= max(0, span.left - margin)
            and self.bottom >= min(height, bottom + margin)
            and self.right >= min(width, right + margin)
        )

    def mask(self, spans: Sequence[Span]) -> Mask:
        """Mark the window's pixels that belong to these parts."""
        inside = np.zeros((self.bottom - self.top, self.right - self.left), np.bool_)
        for span in spans:
            height, width = span.mask.shape
            top, left = max(self.top, span.top), max(self.left, span.left)
            bottom, right = min(self.bottom, span.top + height), min(self.right, span.left + width)
            if top < bottom and left < right:
                part = span.mask[top - span.top : bottom - span.top, left - span.left : right - span.left]
                inside[top - self.top : bottom - self.top, left - self.left : right - self.left] |= part
        return inside


class _Canvas:
    """A crop while it is filled.

    sketch: a fill of the whole crop at a smaller size to begin with. done: HW bool, known or painted at full size.
    sigma: in pixels, of the Gaussian below which the sketch has no detail; 0: there is no sketch.
    """

    def __init__(self, windowing: Windowing, crop: Crop, sketch: Rgb | None = None) -> None:
        self._windowing, self._crop = windowing, crop
        self.pixels, self.done, self.sigma = crop.pixels.copy(), crop.known.copy(), 0.0
        self._windows = 0
        if sketch is not None:
            enlarge(sketch, self.pixels, crop.known)
            self.sigma = BROAD * crop.mask.shape[0] / sketch.shape[0]

    def fill(self, place: _Place, wanted: Mask) -> _Filling:
        """Paint the wanted pixels of a window. wanted: HW bool, of the window's size."""
        pixels, done, known = self.pixels[place.box], self.done[place.box], self._crop.known[place.box]
        todo = wanted & ~done
        if not todo.any():
            return pixels
        fade = _fade(todo, done & ~known, self._windowing.overlap // 2)
        mask = ~done | (fade > 0)
        blank = pixels.copy()
        if not self.sigma:
            blank[mask] = mean(pixels, ~mask)
        self._windows += 1
        seed = self._crop.seed if self._windows == 1 else seed_of(str(self._crop.seed), self._windows)
        answer = yield FillWindow(pixels=blank, mask=mask, seed=seed, label=next(iter(self._crop.labels), ""))
        painted = self._blended(answer.astype(np.float32), pixels, known, mask)
        mixed = pixels * (1 - fade[..., None]) + painted * fade[..., None]  # times 0: no hidden pixel takes part
        np.copyto(pixels, np.rint(mixed).clip(0, 255).astype(np.uint8), where=(fade > 0)[..., None])
        done |= todo
        return pixels

    def _blended(self, painted: Floats, pixels: Rgb, known: Mask, mask: Mask) -> Floats:
        windowing = self._windowing
        if self.sigma:
            painted = anchored(painted, pixels, self.sigma)
        if windowing.colour:
            painted = matched(painted, pixels, near(mask, RING) & ~mask)
        if windowing.blend == "feather":
            return feathered(painted, pixels, known, windowing.feather)
        if windowing.blend == "poisson":
            return cloned(painted, pixels, ~mask, sketched=self.sigma > 0)
        return painted


def _fill(windowing: Windowing, crop: Crop) -> _Filling:
    height, width = crop.mask.shape
    if not crop.known.any():
        return np.full_like(crop.pixels, GREY)
    if max(height, width) <= windowing.side:
        canvas = _Canvas(windowing, crop)
        return (yield from canvas.fill(_Place(0, 0, height, width), ~crop.known))
    spans = list(parts(crop.mask))
    fits = {id(span): span.side + 2 * windowing.overlap <= windowing.side for span in spans}
    sketch = None
    if not windowing.overlap or not all(fits.values()):
        small, known = shrink(crop.pixels, crop.known, windowing.side)
        sketch = yield from _fill(windowing, replace(crop, pixels=small, mask=~known, known=known))
    canvas = _Canvas(windowing, crop, sketch)
    while spans:
        first = spans[0]
        together = [first]
        if fits[id(first)]:
            (place,) = _grid(first, windowing, height, width)
            together = [
                span for span in spans if fits[id(span)] and place.holds(span, windowing.overlap, height, width)
            ]
            yield from canvas.fill(place, place.mask(together))
        elif windowing.overlap and max(height, width) > ENOUGH * windowing.side:
            for place in _grid(first, windowing, height, width):
                yield from canvas.fill(place, place.mask(together))
        filled = {id(span) for span in together}
        spans = [span for span in spans if id(span) not in filled]
    return canvas.pixels


def _grid(span: Span, windowing: Windowing, height: int, width: int) -> Iterator[_Place]:
    """Yield the windows over a part and `overlap` pixels around it, row by row; one centred on it when it fits."""
    rows = _starts(span.top, span.top + span.mask.shape[0], height, windowing)
    columns = _starts(span.left, span.left + span.mask.shape[1], width, windowing)
    for top in rows:
        for left in columns:
            yield _Place(top, left, min(height, top + windowing.side), min(width, left + windowing.side))


def _starts(low: int, high: int, size: int, windowing: Windowing) -> list[int]:
    """Place windows along one axis so that they cover low..high with `overlap` around it and between them."""
    low, high = max(0, low - windowing.overlap), min(size, high + windowing.overlap)
    over = high - low - windowing.side
    if over <= 0:
        return [max(0, min((low + high - windowing.side) // 2, size - windowing.side))]
    steps = -(-over // (windowing.side - windowing.overlap))
    return [low + over * step // steps for step in range(steps + 1)]


def _fade(todo: Mask, made: Mask, reach: int) -> Floats:
    """Weigh a new painting, 0..1: 1 where it is needed, falling to 0 within `reach` pixels over what an earlier window
    made, 0 elsewhere."""
    far = cv2.distanceTransform((~todo).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = np.asarray(np.clip(1 - far / (reach + 1), 0, 1), np.float32)
    return np.asarray(np.where(todo, 1, np.where(made, ramp, 0)), np.float32)


def _padded(window: FillWindow, windowing: Windowing) -> FillWindow:
    """Centre a window in one of a size that the network takes, padded by reflection; the mask is reflected too."""
    height, width = window.mask.shape
    wide, high = (
        windowing.side if windowing.fixed else -(-size // windowing.multiple) * windowing.multiple
        for size in (width, height)
    )
    if (high, wide) == (height, width):
        return window
    top, left = (high - height) // 2, (wide - width) // 2
    sides = ((top, high - height - top), (left, wide - width - left))
    return FillWindow(
        pixels=np.pad(window.pixels, (*sides, (0, 0)), mode="reflect"),
        mask=np.pad(window.mask, sides, mode="reflect"),
        seed=window.seed,
        label=window.label,
    )


def _checked(answers: Sequence[Rgb], windows: Sequence[FillWindow]) -> Sequence[Rgb]:
    if len(answers) != len(windows):
        raise ImageError("wrong_count", f"expected {len(windows)} painted windows, got {len(answers)}")
    for answer, window in zip(answers, windows, strict=True):
        if answer.shape != window.pixels.shape or answer.dtype != np.uint8:
            expected = f"{window.pixels.shape} uint8"
            raise ImageError(
                "wrong_shape", f"expected a painted window of {expected}, got {answer.shape} {answer.dtype}"
            )
    return answers


def _portions(crops: Sequence[Crop]) -> Iterator[Sequence[Crop]]:
    """Group crops in order, at most `_PIXELS_AT_ONCE` in a group unless one crop alone has more."""
    some: list[Crop] = []
    for crop in crops:
        if some and sum(c.mask.size for c in some) + crop.mask.size > _PIXELS_AT_ONCE:
            yield some
            some = []
        some.append(crop)
    if some:
        yield some
