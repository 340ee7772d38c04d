"""Feeds and stores in loglines.cfg, and feeds in a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.config.parsing import options_of
from aggregator.errors import ConfigError
from aggregator.feeds.settings.table import Feed
from aggregator.registry import STORES
from aggregator.stores.settings import FORMS, kind_of
from aggregator.supervision.files import files
from tests.config.faults import SECTIONS

HEAD = "[redis]\nurl = redis://localhost/0\n"
WORKERS = """
[worker_download]
stage = download
pushto = fetched@node
[worker_filter]
stage = filter
listento = fetched@node
pushto = published@node
"""


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults name files from where one stands."""
    monkeypatch.chdir(tmp_path)


def configure(folder: Path, text: str, csv: str | None = None) -> Config:
    if csv is not None:
        (folder / "feeds.csv").write_text(csv)
        text = f"[aggregator]\nfeeds_file = feeds.csv\n{text}"
    (folder / "loglines.cfg").write_text(HEAD + text)
    return load(folder / "loglines.cfg", folder)


def faults(folder: Path, text: str, csv: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        configure(folder, text, csv)
    return list(raised.value.problems)


def schemes_with(option: str) -> list[str]:
    """Return the schemes of the stores that have an option."""
    return [
        scheme for scheme in STORES if option in {known.name for known in options_of(kind_of(f"{scheme}:").settings)}
    ]


def test_a_section_is_a_feed(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        "[feed_MTA A.C.E]\nurl = https://x.example/ace?key=1234\nextension = .pb\ntimestamp = gtfs-realtime\n"
        "period = 30s\nheaders.X-Api-Key = se cret\ntimeout = 5s\nmax_size = 1MB\nstale_after = 10m\n",
    )

    assert config.table("feed").all() == {
        "MTA A.C.E": Feed(
            name="MTA A.C.E", url="https://x.example/ace?key=1234", shown_url="https://x.example/ace?key=***",
            extension="pb", period_ms=30_000, timestamp="gtfs-realtime", format="gtfs-realtime", timeout_s=5.0,
            max_size=2**20, stale_after_s=600.0, allow_private=False, headers={"x-api-key": "se cret"},
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {"period_ms": 14_000, "timeout_s": 14.0, "timestamp": "none", "format": "other", "max_size": 50 * 2**20}),
        ("period = 1s", {"timeout_s": 5.0}),
        ("period = 1h", {"timeout_s": 60.0}),
        ("format = gbfs", {"timestamp": "gbfs", "format": "gbfs"}),
        ("timestamp = siri", {"timestamp": "siri", "format": "siri"}),
        ("timestamp = json:/header/timestamp", {"format": "json"}),
        ("timestamp = http\nformat = gtfs-realtime", {"timestamp": "http", "format": "gtfs-realtime"}),
    ],
)
def test_what_is_not_said_follows_from_what_is(tmp_path: Path, options: str, expected: dict[str, Any]) -> None:
    config = configure(tmp_path, f"[feed_a]\nurl = http://x.example/\nextension = pb\n{options}\n")

    feed = config.table("feed").all()["a"]
    assert {name: getattr(feed, name) for name in expected} == expected


def test_a_secret_out_of_the_environment_is_used_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_ID", "s3cret")

    feed = (
        configure(tmp_path, "[feed_a]\nurl = http://x.example/%(ENV_FEED_ID)s/a\nextension = pb\n")
        .table("feed")
        .all()["a"]
    )

    assert feed.url == "http://x.example/s3cret/a"
    assert feed.shown_url == "http://x.example/***/a"


def test_a_plugin_may_read_timestamps(tmp_path: Path) -> None:
    (tmp_path / "mytimes.py").write_text("def read(path):\n    return 1\n")

    assert (
        configure(tmp_path, "[feed_a]\nurl = http://x/\nextension = pb\ntimestamp = mytimes:read\n").table("feed").all()
    )


FAULTS = {
    "slash in the name": (
        "[feed_a/b]\nurl = http://x/\nextension = pb\n",
        "loglines.cfg:3 [feed_a/b]: bad feed name (found 'a/b'); allowed: at most 120 bytes without / \\ : * ? \" < > "
        "|, no . or - first, no . last, not like the name of a manifest",
    ),
    "missing options": (
        "[feed_a]\n",
        "loglines.cfg:3 [feed_a] url: missing; where the feed is; allowed: an address that starts with http:// or "
        "https://",
        "loglines.cfg:3 [feed_a] extension: missing; how the names of its files end; allowed: letters, digits, _ and "
        "single dots, such as pb",
    ),
    "bad values": (
        "[feed_a]\nurl = file:///etc/passwd\nextension = ../x\nperiod = often\n",
        "loglines.cfg:4 [feed_a] url: bad URL (found 'file:///etc/passwd'); allowed: an address that starts with "
        "http:// or https://",
        "loglines.cfg:5 [feed_a] extension: bad extension (found '../x'); allowed: letters, digits, _ and single dots, "
        "such as pb",
        "loglines.cfg:6 [feed_a] period: bad duration (found 'often'); allowed: a duration such as 14, 14s, 250ms, 5m "
        "or 1h",
    ),
    "misspelt option": (
        "[feed_a]\nurl = http://x/\nextension = pb\ntimstamp = http\n",
        "loglines.cfg:6 [feed_a] timstamp: unknown option; did you mean timestamp?",
    ),
    "unknown timestamp": (
        "[feed_a]\nurl = http://x/\nextension = pb\ntimestamp = gtfsrt\n",
        "loglines.cfg:6 [feed_a] timestamp: unknown timestamp (found 'gtfsrt'); allowed: gtfs-realtime, gbfs, siri, "
        "json:/POINTER, xml:PATH, rss, http, none or MODULE:CALLABLE; did you mean gtfs-realtime?",
    ),
    "plugin that is not there": (
        "[feed_a]\nurl = http://x/\nextension = pb\ntimestamp = plugins_gone.gtfs:read\n",
        "loglines.cfg:6 [feed_a] timestamp: cannot import plugins_gone.gtfs: ModuleNotFoundError: No module named "
        "'plugins_gone'",
    ),
    "header that is ours": (
        "[feed_a]\nurl = http://x/\nextension = pb\nheaders.host = y\n",
        "loglines.cfg:6 [feed_a] headers.host: no header that can be set (found 'host'); not: host, connection, "
        "content-length, transfer-encoding, accept-encoding, if-none-match",
    ),
    "header with a line break": (
        "[feed_a]\nurl = http://x/\nextension = pb\nheaders.x = y\n  z: 1\n",
        "loglines.cfg:6 [feed_a] headers.x: bad header; allowed: one line of ASCII",
    ),
    "missing variable": (
        "[feed_a]\nurl = http://x/%(ENV_AGGREGATOR_NOT_SET)s\nextension = pb\n",
        "loglines.cfg:4 [feed_a] url: missing environment variable AGGREGATOR_NOT_SET",
    ),
    "store": (
        "[store_s]\nurl = nosuch://x\nregon = y\n",
        f"loglines.cfg:4 [store_s] url: bad store (found 'nosuch://x'); allowed: {FORMS}",
        "loglines.cfg:5 [store_s] regon: unknown option; did you mean region?",
    ),
    "store with options of another": (
        "[store_s]\nurl = file:///srv/archive\nregion = x\n",
        "loglines.cfg:5 [store_s] region: means nothing to a folder; allowed: only with url = "
        + " or ".join(f"{scheme}://..." for scheme in schemes_with("region")),
    ),
    "section misspelt": (
        "[feeds_a]\nurl = http://x/\n",
        f"loglines.cfg:3 [feeds_a]: unknown section; allowed: {SECTIONS}; did you mean feed_a?",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_a_section_is_told_with_its_place(tmp_path: Path, case: str) -> None:
    text, *expected = FAULTS[case]

    assert faults(tmp_path, text) == expected


def test_a_feed_has_one_place(tmp_path: Path) -> None:
    section = "[feed_a]\nurl = http://x/\nextension = pb\n"

    assert faults(tmp_path, section, "a,http://y/,pb\n") == [
        "feeds.csv:1 id: a second feed a; the first one is [feed_a] in line 5"
    ]


def test_a_file_has_feeds_in_the_usual_columns(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        "",
        '# our feeds\n\nace, http://x/ace ,pb,30s,gtfs-realtime\n"one, two",http://x/?a=1,json,,gbfs\nthree,http://x/3,txt\n',
    )

    feeds = config.table("feed").all()
    assert list(feeds) == ["ace", "one, two", "three"]
    assert (feeds["ace"].period_ms, feeds["ace"].format) == (30_000, "gtfs-realtime")
    assert (feeds["one, two"].period_ms, feeds["three"].timestamp) == (14_000, "none")


def test_or_in_columns_that_its_first_line_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSV_KEY", "s3cret")

    config = configure(
        tmp_path, "", "\ufeffid,extension,url,headers.x-api-key,timeout\na,pb,http://x/,%(ENV_CSV_KEY)s,3s\n"
    )

    assert config.table("feed").all()["a"].headers == {"x-api-key": "s3cret"}
    assert config.table("feed").all()["a"].timeout_s == 3.0


CSV_FAULTS = {
    "bad values": (
        "a,http://x/,pb\nb,ftp://x/,p/b,often\n",
        "feeds.csv:2 url: bad URL (found 'ftp://x/'); allowed: an address that starts with http:// or https://",
        "feeds.csv:2 extension: bad extension (found 'p/b'); allowed: letters, digits, _ and single dots, such as pb",
        "feeds.csv:2 period: bad duration (found 'often'); allowed: a duration such as 14, 14s, 250ms, 5m or 1h",
    ),
    "no name": (
        ",http://x/,pb\n",
        "feeds.csv:1 id: bad feed name (found ''); allowed: at most 120 bytes without / \\ : * ? \" < > |, no . or - "
        "first, no . last, not like the name of a manifest",
    ),
    "two of a name": (
        "a,http://x/,pb\na,http://y/,pb\n",
        "feeds.csv:2 id: a second feed a; the first one is feeds.csv:1",
    ),
    "too many values": (
        "a,http://x/,pb,1s,http,more\n",
        "feeds.csv:1: 6 values for 5 columns (id, url, extension, period, timestamp)",
    ),
    "unknown column": ("id,url,extensio\n", "feeds.csv:1 extensio: unknown column; did you mean extension?"),
    "missing variable": (
        "a,http://x/%(ENV_AGGREGATOR_NOT_SET)s,pb\n",
        "feeds.csv:1 url: missing environment variable AGGREGATOR_NOT_SET",
    ),
    "no CSV": ('a,"http://x/\n', "feeds.csv:1: no row of comma-separated values: unexpected end of data"),
}


@pytest.mark.parametrize("case", CSV_FAULTS)
def test_a_fault_in_a_file_is_told_with_its_line_and_column(tmp_path: Path, case: str) -> None:
    csv, *expected = CSV_FAULTS[case]

    assert faults(tmp_path, "", csv) == expected


def test_a_secret_in_a_bad_value_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSV_URL", "ftp://me:s3cret@x/")

    [fault] = faults(tmp_path, "", "a,%(ENV_CSV_URL)s,pb\n")

    assert "found '%(ENV_CSV_URL)s'" in fault


BAD_URLS = {
    "htp://joe:s3cret@h/a": "htp://***@h/a",
    "http:/joe:s3cret@h/a": "http:/***@h/a",
    "joe:s3cret@h": "joe:***@h",
    "http://joe:s3c/s3cret@h/": "http://***@h/",
    "http://joe:s3cret@h:port/": "http://***@h:port/",
    "ht tp://joe:s3cret@h/": "ht tp://***@h/",
    "htp://h/?pass=s3cret#token=s3cret": "htp://h/?pass=***#token=***",
}


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_secret_that_stands_in_a_bad_address_is_not_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "feeds.csv").write_text(f"b,{url},pb\n")

    with pytest.raises(ConfigError) as raised:
        configure(tmp_path, f"[aggregator]\nfeeds_file = feeds.csv\n[feed_a]\nurl = {url}\nextension = pb\n")

    assert "s3c" not in str(raised.value)
    assert str(raised.value).count(f"(found '{BAD_URLS[url]}')") == 2


def test_a_file_that_cannot_be_read_is_told_where_it_is_named(tmp_path: Path) -> None:
    assert faults(tmp_path, "[aggregator]\nfeeds_file = gone.csv\n") == [
        "loglines.cfg:4 [aggregator] feeds_file: gone.csv cannot be read: No such file or directory"
    ]
    (tmp_path / "gone.csv").write_bytes(b"\xff\xfe\x00")
    assert "bad encoding" in faults(tmp_path, "[aggregator]\nfeeds_file = gone.csv\n")[0]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, "[feed_a]\n[store_b]\n[worker_c]\nstage = broker\n", "x\ny\n")

    assert [line.split(":")[0] for line in found] == ["loglines.cfg"] * 5 + ["feeds.csv"] * 4


def test_a_worker_reads_the_feeds_it_can_and_is_told_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "loglines.cfg").write_text(
        f"{HEAD}{WORKERS}[feed_good]\nurl = http://x/\nextension = pb\n[feed_bad]\nurl = nonsense\nextension = pb\n"
        "[feed_env]\nurl = http://x/%(ENV_AGGREGATOR_NOT_SET)s\nextension = pb\n"
    )

    table = load(tmp_path / "loglines.cfg", tmp_path, only="worker_download").table("feed")

    assert list(table.entries) == ["good"]
    assert [fault.split("]")[0] for fault in table.faults] == [
        "loglines.cfg:15 [feed_bad", "loglines.cfg:18 [feed_env"
    ]  # fmt: skip


def test_a_table_knows_when_its_files_have_changed(tmp_path: Path) -> None:
    table = configure(tmp_path, "", "a,http://x/,pb\n").table("feed")
    assert table.is_current()

    (tmp_path / "feeds.csv").write_text("a,http://x/,pb\nb,http://x/,pb\n")

    assert not table.is_current()


def test_a_worker_finds_the_store_it_names(tmp_path: Path) -> None:
    config = configure(tmp_path, "[store_main]\nurl = s3://bucket/prefix\n[store_disk]\nurl = file:///srv\n")

    assert config.table("store").entry("main").url == "s3://bucket/prefix"
    assert list(config.table("store").all()) == ["main", "disk"]
    with pytest.raises(ConfigError, match=r"no section \[store_min\]; did you mean main\?"):
        config.table("store").entry("min")


def test_a_change_of_feeds_restarts_the_workers_that_download_and_filter_and_no_others(tmp_path: Path) -> None:
    def texts(csv: str) -> dict[str, str]:
        config = configure(tmp_path, WORKERS, csv)
        return {file.path.name: file.text for file in files(config, "") if file.path.parent.name == "workers_available"}

    before, same, after = texts("a,http://x/,pb\n"), texts("a,http://x/,pb\n"), texts("b,http://x/,pb\n")

    assert same == before
    assert {name for name in after if after[name] != before[name]} == {"worker_download.conf", "worker_filter.conf"}


def test_nobody_needs_to_feed_the_queue_of_ticks(tmp_path: Path) -> None:
    config = configure(tmp_path, WORKERS + "[worker_end]\nstage = broker\nlistento = published@node\nfanout = x\n")

    assert [warning for warning in config.warnings if "ticks" in warning] == []


def test_ten_thousand_feeds_are_read(tmp_path: Path) -> None:
    rows = "".join(f"feed{n},http://x.example/{n}?key=k{n},pb,14s,gtfs-realtime\n" for n in range(10_000))

    config = configure(tmp_path, WORKERS, rows)

    assert len(config.table("feed").all()) == 10_000
