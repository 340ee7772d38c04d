"""`graph`: the pipeline as a tree of text, as Mermaid, or as a picture."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aggregator.commands.invocation import Invocation
from aggregator.commands.picture import Edge, draw
from aggregator.config.configuration import Config
from aggregator.config.programs import Program
from aggregator.errors import EXIT_OK


class Pipeline(NamedTuple):
    """The graph of sections and queues; `nodes` is name → lines in its box. Names of queues begin with `queue:`."""

    nodes: dict[str, tuple[str, ...]]
    edges: tuple[Edge, ...]

    @property
    def roots(self) -> list[str]:
        """The nodes where messages come in; for a loop without such a node, its first node."""
        reached = {edge.end for edge in self.edges}
        roots = [name for name in self.nodes if name not in reached]
        seen = {name for root in roots for name in self._below(root)}
        for name in self.nodes:
            if name not in seen:
                roots.append(name)
                seen |= self._below(name)
        return roots

    def after(self, name: str) -> list[Edge]:
        """Return the edges that leave a node."""
        return [edge for edge in self.edges if edge.start == name]

    def _below(self, root: str) -> set[str]:
        found, ahead = {root}, [root]
        while ahead:
            for edge in self.after(ahead.pop()):
                if edge.end not in found:
                    found.add(edge.end)
                    ahead.append(edge.end)
        return found


def add_graph(parser: argparse.ArgumentParser) -> None:
    """Declare `graph`."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--mermaid", action="store_true", help="print a Mermaid flowchart, for Markdown pages")
    form.add_argument("--svg", metavar="FILE", type=Path, help="write a picture that any browser shows")
    form.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_graph)


def _graph(invocation: Invocation, args: argparse.Namespace) -> int:
    pipeline = pipeline_of(invocation.config(reading=True))
    if args.json:
        # imported here: only JSON output needs it
        from aggregator.commands.screen import print_json

        nodes = [{"name": name, "lines": list(lines)} for name, lines in pipeline.nodes.items()]
        print_json({"nodes": nodes, "edges": [edge._asdict() for edge in pipeline.edges]})
    elif args.mermaid:
        print("\n".join(mermaid(pipeline)))
    elif args.svg:
        args.svg.write_text(draw(pipeline.nodes, pipeline.edges, is_queue), encoding="utf-8")
        invocation.say(f"wrote {args.svg}")
    else:
        print("\n".join(tree(pipeline)))
    return EXIT_OK


def is_queue(name: str) -> bool:
    """True for the node of a queue."""
    return name.startswith("queue:")


def pipeline_of(config: Config) -> Pipeline:
    """Return the graph of a configuration: every section that reads or feeds a queue, and the queues."""
    nodes: dict[str, tuple[str, ...]] = {}
    edges: list[Edge] = []
    for program in config.programs.values():
        if program.listens is None and not program.feeds:
            continue
        nodes[program.section] = (program.section, describe(program))
        if program.listens is not None:
            nodes.setdefault(f"queue:{program.listens}", (program.listens,))
            edges.append(Edge(f"queue:{program.listens}", program.section, ""))
        for option, queue in program.targets:
            nodes.setdefault(f"queue:{queue}", (queue,))
            # the edge is labelled with the option that names the queue, unless this is a usual one
            label = "" if option in ("pushto", "fanout") else option
            edges.append(Edge(program.section, f"queue:{queue}", label))
    return Pipeline(nodes, tuple(edges))


def describe(program: Program) -> str:
    """Describe a section in a few words: its stage, how many processes it has, and the file or URL it uses."""
    words = [program.stage_name or "command"]
    if program.numprocs > 1:
        words.append(f"x {program.numprocs}")
    for option in ("logfile", "endpoint_url"):
        place = getattr(program.settings, option, None)
        if place is not None:
            # the query of a URL may hold a secret key
            words.append(str(place).partition("?")[0])
    return " ".join(words)


def tree(pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines of a tree; the branches of a node are shown only once."""
    shown: set[str] = set()
    for root in pipeline.roots:
        yield from _branch(pipeline, Edge("", root, ""), "", "", shown)


def _branch(pipeline: Pipeline, way: Edge, first: str, rest: str, shown: set[str]) -> Iterator[str]:
    name, *more = pipeline.nodes[way.end]
    label = f" ({way.label})" if way.label else ""
    text = f"[{name}]{label}" if is_queue(way.end) else "  ".join([name, *more])
    if way.end in shown:
        yield f"{first}{text} ..."
        return
    shown.add(way.end)
    yield f"{first}{text}"
    ways = pipeline.after(way.end)
    for number, onward in enumerate(ways, 1):
        last = number == len(ways)
        yield from _branch(
            pipeline, onward, f"{rest}{'└─ ' if last else '├─ '}", f"{rest}{'   ' if last else '│  '}", shown
        )


def mermaid(pipeline: Pipeline) -> Iterator[str]:
    """Yield a Mermaid flowchart."""
    yield "flowchart LR"
    ids = {name: f"n{number}" for number, name in enumerate(pipeline.nodes)}
    for name, lines in pipeline.nodes.items():
        text = "<br/>".join(_mermaid_text(line) for line in lines)
        yield f'  {ids[name]}(["{text}"])' if is_queue(name) else f'  {ids[name]}["{text}"]'
    for edge in pipeline.edges:
        label = f"|{edge.label}|" if edge.label else ""
        yield f"  {ids[edge.start]} -->{label} {ids[edge.end]}"


def _mermaid_text(text: str) -> str:
    return re.sub(r'[&<>"#]', lambda match: f"#{ord(match[0])};", text)
