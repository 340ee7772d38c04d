"""Draw a graph as a self-contained SVG, in layers from left to right with few crossings, without another program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

_LETTER, _LINE, _PAD = 7.3, 17, 12
_GAP_X, _GAP_Y, _MARGIN = 90, 24, 20
_MOST_LETTERS = 44
_STYLE = """
  svg { background: #fff; font: 12px ui-monospace, monospace }
  .section { fill: #e8f0fe; stroke: #3c6fd1 } .queue { fill: #fff4d6; stroke: #c08a00 }
  text { fill: #222 } .more { fill: #666 }
  path { fill: none; stroke: #888; stroke-width: 1.4 } marker path { fill: #888 }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181d } .section { fill: #1f2d4a } .queue { fill: #3d3212 }
    text { fill: #eee } .more { fill: #aaa }
  }
"""


class Edge(NamedTuple):
    """An arrow for messages that go from one node to another; `label` is written beside it, unless it is empty."""

    start: str
    end: str
    label: str


class Box(NamedTuple):
    """Where a node is drawn, in pixels."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]


def draw(nodes: Mapping[str, tuple[str, ...]], ways: Sequence[Edge], is_queue: Callable[[str], bool]) -> str:
    """Return the SVG text of a graph; `nodes` holds the lines of each box, and `is_queue` decides its shape."""
    boxes = _place({name: tuple(map(_cut, lines)) for name, lines in nodes.items()}, ways)
    width = max((box.x + box.width for box in boxes.values()), default=0) + _MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=0) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    parts += [_arrow(boxes[way.start], boxes[way.end], way.label) for way in ways]
    parts += [_box(box, is_queue(name)) for name, box in boxes.items()]
    return "\n".join([*parts, "</svg>", ""])


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..."


def _place(nodes: Mapping[str, tuple[str, ...]], ways: Sequence[Edge]) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    x = float(_MARGIN)
    layers = _ordered(_layers(nodes, ways), ways)
    heights = {name: _LINE * len(lines) + _PAD for name, lines in nodes.items()}
    tallest = max((sum(heights[name] + _GAP_Y for name in layer) for layer in layers), default=0)
    for layer in layers:
        width = max(len(line) for name in layer for line in nodes[name]) * _LETTER + 2 * _PAD
        # each layer stands in the middle of the picture's height
        y = _MARGIN + (tallest - sum(heights[name] + _GAP_Y for name in layer)) / 2
        for name in layer:
            boxes[name] = Box(x, y, width, heights[name], nodes[name])
            y += heights[name] + _GAP_Y
        x += width + _GAP_X
    return boxes


def _layers(nodes: Mapping[str, tuple[str, ...]], ways: Sequence[Edge]) -> list[list[str]]:
    """Put each node to the right of all nodes that lead to it; an edge that closes a loop does not count."""
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for way in ways:
        before[way.end].append(way.start)
    depth: dict[str, int] = {}

    def measure(name: str, path: frozenset[str]) -> int:
        if name not in depth:
            path |= {name}
            depth[name] = 1 + max((measure(other, path) for other in before[name] if other not in path), default=-1)
        return depth[name]

    for name in nodes:
        measure(name, frozenset())
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in nodes:
        layers[depth[name]].append(name)
    return layers


def _ordered(layers: list[list[str]], ways: Sequence[Edge]) -> list[list[str]]:
    """Sort each layer by the mean place of the nodes that lead to each node, so that arrows seldom cross."""
    for left, layer in pairwise(layers):
        place = {name: number for number, name in enumerate(left)}
        middle = {}
        for name in layer:
            found = [place[way.start] for way in ways if way.end == name and way.start in place]
            middle[name] = sum(found) / len(found) if found else len(left)
        layer.sort(key=lambda name: middle[name])
    return layers


def _arrow(start: Box, end: Box, label: str) -> str:
    x1, y1 = start.x + start.width, start.y + start.height / 2
    x2, y2 = end.x, end.y + end.height / 2
    if x2 > x1:
        bend = (x2 - x1) / 2
        line = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    else:
        # an arrow back to the left passes below both boxes
        low = max(start.y + start.height, end.y + end.height) + _GAP_Y
        line = f"M{x1:.0f} {y1:.0f}C{x1 + 60:.0f} {low:.0f} {x2 - 60:.0f} {low:.0f} {x2:.0f} {y2:.0f}"
    text = (
        f'<text class="more" x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 - 5:.0f}" text-anchor="middle" font-size="10">'
    )
    return f'<path d="{line}" marker-end="url(#tip)"/>' + (f"{text}{escape(label)}</text>" if label else "")


def _box(box: Box, queue: bool) -> str:
    kind, corner = ("queue", box.height / 2) if queue else ("section", 4)
    parts = [
        f'<rect class="{kind}" x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}"'
        f' rx="{corner:.0f}"/>'
    ]
    for number, line in enumerate(box.lines):
        y = box.y + _PAD / 2 + _LINE * number + 13
        shade = ' class="more"' if number else ""
        x = box.x + box.width / 2
        parts.append(f'<text{shade} x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(line)}</text>')
    return "".join(parts)
