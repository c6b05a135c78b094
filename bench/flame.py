"""A flame graph of sampled stacks as one SVG file, without scripts: a box a frame, as wide as its share of samples.

After Brendan Gregg's flame graphs (https://www.brendangregg.com/flamegraphs.html), upside down: callers above callees.
The colour of a box says its stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final

from bench.sampler import Stacks
from bench.stage_table import STAGES, frame_of, stage_of, stage_of_frame

WIDTH: Final = 1_600
ROW: Final = 17
TOP: Final = 40
NARROWEST: Final = 0.8
"""Pixels below which a box is left out."""

LETTER: Final = 6.6
"""Pixels a letter of 11 px monospace takes."""


@dataclass(slots=True)
class _Box:
    count: int = 0
    below: dict[str, _Box] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Drawn:
    text: str
    count: int
    x: float
    width: float
    depth: int


def flame_svg(stacks: Stacks, title: str) -> str:
    """Draw the stacks of threads that did something."""
    root = _Box()
    for (_, stack), count in stacks.items():
        if stage_of(stack) is not None:
            _add(root, stack, count)
    drawn = list(_laid_out(root, 0.0, WIDTH / max(1, root.count), 0))
    height = TOP + ROW * (2 + max((each.depth for each in drawn), default=0))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="monospace" '
        f'font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="8" y="22" font-size="15">{escape(title)}: {root.count:,} samples</text>'
    )
    return "\n".join((head, *(_rectangle(each, root.count) for each in drawn), "</svg>\n"))


def _add(root: _Box, stack: tuple[str, ...], count: int) -> None:
    root.count += count
    box = root
    for text in stack:
        box = box.below.setdefault(text, _Box())
        box.count += count


def _laid_out(box: _Box, x: float, scale: float, depth: int) -> Iterator[_Drawn]:
    for text, below in sorted(box.below.items()):
        width = below.count * scale
        if width >= NARROWEST:
            yield _Drawn(text, below.count, x, width, depth)
            yield from _laid_out(below, x, scale, depth + 1)
        x += width


def _rectangle(box: _Drawn, samples: int) -> str:
    y = TOP + box.depth * ROW
    letters = int((box.width - 4) / LETTER)
    label = escape(box.text[:letters]) if letters > 2 else ""
    return (
        f"<g><title>{escape(box.text)}: {box.count:,} samples, {box.count / samples:.1%}</title>"
        f'<rect x="{box.x:.1f}" y="{y}" width="{box.width:.1f}" height="{ROW - 1}" fill="{_colour(box.text)}"/>'
        f'<text x="{box.x + 2:.1f}" y="{y + 12}">{label}</text></g>'
    )


def _colour(text: str) -> str:
    frame = frame_of(text)
    stage = None if frame is None else stage_of_frame(frame)
    return "#ddd" if stage is None else f"hsl({STAGES.index(stage) * 137 % 360} 60% 75%)"
