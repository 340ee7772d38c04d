"""`aggregator graph`: text, Mermaid, SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from tests.commands.conftest import Site


def test_the_tree_follows_messages_and_shows_each_branch_once(site: Site) -> None:
    ran = site.run("graph")

    assert ran.lines == [
        "logger_feed  tests.samplestages:Feeder",
        "└─ [lines]",
        "   └─ worker_copy  tests.samplestages:Copier",
        "      ├─ [kept]",
        "      │  └─ worker_keep  tests.samplestages:Keeper data/kept.log",
        "      └─ [asked]",
        "         └─ worker_ask  tests.samplestages:Caller x 2",
        "            └─ [done] (success_queue)",
        "               └─ worker_done  tests.samplestages:Copier",
        "                  └─ [kept] ...",
    ]


def test_a_loop_is_drawn_once(site: Site) -> None:
    site.configure(
        "[worker_a]\nstage = tests.samplestages:Copier\nlistento = one\nfanout = two\n"
        "[worker_b]\nstage = tests.samplestages:Copier\nlistento = two\nfanout = one\n"
    )

    ran = site.run("graph")

    assert ran.lines[0].startswith("worker_a")
    assert ran.lines[-1].strip() == "└─ worker_a  tests.samplestages:Copier ..."
    assert site.run("graph", "--svg", str(site.root / "loop.svg")).code == 0


def test_mermaid_has_a_node_for_each_section_and_queue_and_labels(site: Site) -> None:
    ran = site.run("graph", "--mermaid")

    assert ran.lines[0] == "flowchart LR"
    assert '  n1(["lines"])' in ran.lines
    assert any(line.endswith("-->|success_queue| n7") for line in ran.lines)
    assert sum("-->" in line for line in ran.lines) == 9


def test_the_picture_is_one_svg_without_anything_from_outside(site: Site) -> None:
    file = site.root / "pipeline.svg"

    ran = site.run("graph", "--svg", str(file))

    root = ElementTree.parse(file).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = {text.text for text in root.iter(f"{space}text")}
    assert ran.out == f"wrote {file}\n"
    assert {"logger_feed", "lines", "worker_keep", "success_queue"} <= texts
    assert len(root.findall(f"{space}rect")) == 9
    assert len(root.findall(f"{space}path")) == 9
    assert "http" not in file.read_text().replace("http://www.w3.org/2000/svg", "")


def test_boxes_of_the_picture_do_not_overlap(site: Site) -> None:
    file = site.root / "pipeline.svg"
    site.run("graph", "--svg", str(file))

    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in ElementTree.parse(file).getroot().findall("{http://www.w3.org/2000/svg}rect")
    ]

    for number, (x, y, width, height) in enumerate(boxes):
        for x2, y2, width2, height2 in boxes[number + 1 :]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y


def test_json_has_nodes_and_edges(site: Site) -> None:
    found = site.run("graph", "--json").json()

    assert {"start": "queue:lines", "end": "worker_copy", "label": ""} in found["edges"]
    assert len(found["nodes"]) == 9
