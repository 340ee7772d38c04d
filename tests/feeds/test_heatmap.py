"""The heat map is a page that is whole, asks nobody and tells every hour."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, Coverage
from aggregator.feeds.query.heatmap import describe, render
from aggregator.monitor.heatmap import percent
from tests.feeds.archives import START, manifest, published, tick, ticks_of
from tests.feeds.covering import LATER, cover, full


class Page(HTMLParser):
    """Check that every tag is closed, and collect what a page asks others for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[tuple[str, str | None]] = []
        self.cells: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [(tag, value) for name, value in attrs if name in ("src", "href")]
        if tag == "td":
            self.cells.append(dict(attrs).get("class") or "")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_heat_map_is_whole_asks_nobody_and_tells_every_hour() -> None:
    ticks = [tick(n, "failed", error="<script>alert(1)</script>") if n < 6 else tick(n) for n in range(60)]
    coverage = cover(manifest(ticks), span=Span(START, START + 3 * HOUR_S))._replace(
        feed="a<b>&c", problems=["key: damaged"]
    )

    text = "".join(render([coverage], "Coverage & more", LATER))

    page = Page(text)
    assert (page.open, page.asked) == ([], [])
    assert page.cells == ["good", "none", "none right"]
    assert '<ul class="legend">' in text and "\nul{" not in text
    assert "<script" not in text and "url(" not in text and "@import" not in text
    assert {"a<b>&c", "a<b>&c: key: damaged", "Coverage & more"} <= {*page.texts}
    assert any("longest gap 360 s from 13:00:20: failed: <script>" in words for words in page.texts)
    assert "prefers-color-scheme:dark" in text


def test_a_heat_map_of_nothing_is_a_page() -> None:
    assert Page("".join(render([], "Coverage", LATER))).open == []


def test_hours_without_data_between_others_keep_their_place() -> None:
    first = Coverage("a", [cover(manifest(full())).hours[0]], None, [])
    last = Coverage("b", [first.hours[0]._replace(start=START + 3 * HOUR_S)], None, [])

    page = Page("".join(render([first, last], "Coverage", LATER)))

    assert page.cells == ["full", "", "", "", "", "", "", "full right"]


def test_an_hour_is_described_with_its_counts() -> None:
    manifests = manifest([*ticks_of(published()), *full(range(11, 50))])

    words = describe(cover(manifests).hours[0])

    assert words.splitlines() == [
        "2024-02-08 13:00 UTC",
        "83.33 % of 60 planned downloads",
        "11 ok, 39 same, 10 unrecorded",
        "11 publications",
        "longest gap 600 s from 13:50:20: not running",
    ]


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99996, "99.9 %"), (0.996, "99.6 %"), (0.5, "50 %"), (0.0, "0 %")]
)
def test_a_hundred_percent_is_all_and_nothing_less(share: float, text: str) -> None:
    assert percent(share) == text
