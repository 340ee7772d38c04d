"""`streams export`: what was recorded comes out whole, in order, in four forms, with what is missing told beside it."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import simplejson

from aggregator.cli import main
from aggregator.stores.directory import DirectoryStore
from aggregator.streams.exporting.columns import COLUMNS
from aggregator.streams.messages import Connection
from tests.streams.recorded import CHANGES, JETSTREAM, JETSTREAM_2, NOON, STATUS, TWEETS, Recording, second_version

HOUR_MS = 3_600_000


def tweet(number: int, text: str = "t", **more: Any) -> bytes:
    user = {"id": 7, "id_str": "7", "screen_name": "u"}
    fields = {"id": number, "id_str": str(number), "text": text, "user": user, **more}
    return simplejson.dumps(fields).encode()


class Exporter:
    """A recording, and the command on it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.recording = Recording(root / "data/streams")
        self.file = self.recording.file
        self.to = root / "out"
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *words: str, to: Path | None = None, form: str = "jsonl") -> int:
        try:
            code = main(
                ["-r", str(self.root), "streams", "export", *words, "--format", form, "--to", str(to or self.to)]
            )
        except SystemExit as error:
            code = int(error.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    def lines(self, to: Path | None = None) -> list[bytes]:
        parts = sorted(path for path in (to or self.to).iterdir() if path.name.startswith("part-"))
        return [line for part in parts for line in part.read_bytes().splitlines()]

    def readme(self) -> str:
        return (self.to / "README.md").read_text()


@pytest.fixture
def exporter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Exporter:
    return Exporter(tmp_path, capsys)


def test_lines_come_out_byte_for_byte_in_order_of_time(exporter: Exporter) -> None:
    odd = b'{"id":12345678901234567890123,"geo":[1.10,1e5],"text":"\\u00e9"}'
    exporter.file("s", [TWEETS[1]], at_ms=NOON + HOUR_MS)
    exporter.file("s", [odd, TWEETS[0]], form="zst")

    assert exporter.run("s") == 0

    assert exporter.lines() == [odd, TWEETS[0], TWEETS[1]]
    assert exporter.out.startswith("3 of 3 events of 2 files")


def test_streams_are_merged_by_time_and_may_be_named_by_a_pattern(exporter: Exporter) -> None:
    exporter.file("s1", [tweet(1, timestamp_ms=str(NOON)), tweet(3, timestamp_ms=str(NOON + 2000))], step_ms=3000)
    exporter.file(
        "s2", [tweet(2, timestamp_ms=str(NOON + 1000)), tweet(4, timestamp_ms=str(NOON + 3000))], step_ms=3000
    )

    exporter.run("s*", form="ids")

    assert exporter.lines() == [b"1", b"2", b"3", b"4"]


def test_spans_that_meet_have_each_event_once(exporter: Exporter) -> None:
    events = [tweet(n, timestamp_ms=str(NOON + n * 60_000 - 500)) for n in range(30)]
    exporter.file("s", events[:15], step_ms=60_000)
    exporter.file("s", events[15:], at_ms=NOON + 15 * 60_000, step_ms=60_000)
    found = []
    for number, (start, end) in enumerate([("11:00", "12:05"), ("12:05", "12:15"), ("12:15", "13:00")]):
        to = exporter.root / f"out{number}"
        exporter.run("s", "--start", f"2023-11-15T{start}", "--end", f"2023-11-15T{end}", to=to, form="ids")
        found.append(exporter.lines(to))

    assert [len(lines) for lines in found] == [6, 9, 15]
    assert [int(line) for lines in found for line in lines] == [*range(30)]


def test_ids_are_those_of_each_platform(exporter: Exporter) -> None:
    exporter.file("t", [TWEETS[0], tweet(2**62 + 1), b'{"id":9007199254740993,"text":"t","user":{}}'])
    exporter.file("x", [b'{"data":{"id":"1576994789110992896","text":"t"},"matching_rules":[]}'])
    exporter.file("m", [("update", STATUS), ("delete", b"5"), ("update", simplejson.dumps(STATUS.decode()).encode())])
    exporter.file("w", CHANGES[:1])
    exporter.file("b", JETSTREAM[:1])
    exporter.file("c", [b'{"limit":{"track":1}}', b'{"a":1}', b'{"id":"a\\nb","text":"","user":{}}'])

    def ids(stream: str) -> list[str]:
        exporter.run(stream, "--overwrite", form="ids")
        return [line.decode() for line in exporter.lines()]

    assert ids("t") == ["887453193294282752", str(2**62 + 1), "9007199254740993"]
    assert ids("x") == ["1576994789110992896"]
    assert ids("m") == ["117024248092393661"] * 2
    assert ids("w") == [simplejson.loads(CHANGES[0])["meta"]["id"]]
    assert ids("b") == ["at://did:plc:wq4aajammjtxdomz3e23667t/app.bsky.feed.like/3mptbyplj5d2a"]
    assert ids("c") == []
    assert "1 control message, 2 without an id" in exporter.out


def test_csv_has_the_documented_columns(exporter: Exporter) -> None:
    exporter.file("t", [*TWEETS, b'{"limit":{"track":1}}', b"[1]"])

    exporter.run("t", form="csv")

    with (exporter.to / "part-00001.csv").open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == [*COLUMNS]
    assert [row["kind"] for row in rows] == ["post", "quote", "repost", "repost", "other"]
    first = rows[0]
    assert (first["id"], first["created_at"]) == ("887453193294282752", "2017-07-18T23:25:04.000Z")
    assert (first["latitude"], first["longitude"]) == ("40.01736548", "-105.27786886")
    assert rows[2]["text"].startswith("RT @") and rows[2]["repost_of_id"]
    assert (rows[4]["json"], rows[4]["received_at"][:10]) == ("[1]", "2023-11-15")
    page = (Path(__file__).parents[2] / "docs/streams.md").read_text()
    assert [name for name in COLUMNS if f"`{name}`" not in page] == []


def test_csv_of_every_platform_has_its_text(exporter: Exporter) -> None:
    exporter.file("b", JETSTREAM)
    exporter.file("m", [("update", STATUS)])
    exporter.file(
        "x", [b'{"data":{"id":"1","text":"hello","author_id":"2"},"includes":{"users":[{"id":"2","username":"u"}]}}']
    )
    exporter.file("w", CHANGES)

    exporter.run("*", form="csv")

    with (exporter.to / "part-00001.csv").open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    by_platform = {
        name: [row for row in rows if row["platform"] == name] for name in ("x", "mastodon", "bluesky", "wikimedia")
    }
    assert [(row["text"], row["user_name"]) for row in by_platform["x"]] == [("hello", "u")]
    assert "cool guy" in by_platform["mastodon"][0]["text"]
    assert sum(row["kind"] == "repost" for row in by_platform["bluesky"]) == 6
    assert len(by_platform["bluesky"]) == 49  # one is a deletion
    assert all(row["json"] and row["kind"] == "other" for row in by_platform["wikimedia"])


def test_parquet_has_the_same_columns(exporter: Exporter) -> None:
    exporter.file("t", TWEETS)

    exporter.run("t", form="parquet")

    table = pyarrow.parquet.read_table(exporter.to / "part-00001.parquet")
    assert table.column_names == [*COLUMNS]
    assert table["latitude"][0].as_py() == 40.01736548
    assert table["id"][0].as_py() == "887453193294282752"


def test_numbers_of_hostile_size_do_not_stop_a_table(exporter: Exporter) -> None:
    hostile = [
        b'{"did":"d","kind":"commit","time_us":99999999999999999999,"commit":{"collection":"app.bsky.feed.post","record":{}}}',
        tweet(1, retweet_count=2**70, coordinates={"coordinates": ["nan", 1e308]}, timestamp_ms="9" * 15),
        tweet(2, user="x", entities=[], created_at="Wed Aug 27 13:08:45 +9999 99999", place=3),
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"id":' + b"9" * 5000 + b',"user":1,"text":1}',
    ]
    exporter.file("t", hostile)

    assert exporter.run("t", form="parquet") == 0
    assert exporter.run("t", "--overwrite", form="csv") == 0


def test_parts_have_so_many_rows(exporter: Exporter) -> None:
    exporter.file("s", [tweet(n) for n in range(25)])

    exporter.run("s", "--part-rows", "10", form="csv")

    assert sorted(os.listdir(exporter.to)) == ["README.md", "part-00001.csv", "part-00002.csv", "part-00003.csv"]
    with (exporter.to / "part-00003.csv").open(newline="") as file:
        assert len([*csv.DictReader(file)]) == 5


def test_a_path_with_the_ending_of_the_form_is_a_file(exporter: Exporter) -> None:
    exporter.file("s", [tweet(n) for n in range(25)])
    to = exporter.root / "tweets.csv"

    exporter.run("s", "--part-rows", "10", to=to, form="csv")
    assert {"tweets.csv", "tweets-00002.csv", "tweets-00003.csv", "tweets.csv.README.md"} < {*os.listdir(exporter.root)}

    assert exporter.run("s", to=to, form="csv") == 2
    assert exporter.run("s", "--overwrite", to=to, form="csv") == 0
    assert {name for name in os.listdir(exporter.root) if "tweets" in name} == {"tweets.csv", "tweets.csv.README.md"}


def test_what_is_there_is_replaced_only_on_request_and_only_if_it_is_ours(exporter: Exporter) -> None:
    exporter.file("s", [tweet(1)])
    exporter.run("s")
    before = exporter.readme()

    assert exporter.run("s") == 2
    assert "--overwrite" in exporter.err and exporter.readme() == before
    assert exporter.run("s", "--overwrite", form="ids") == 0
    assert sorted(os.listdir(exporter.to)) == ["README.md", "part-00001.txt"]
    (exporter.to / "thesis.doc").touch()
    assert exporter.run("s", "--overwrite") == 2
    assert (exporter.to / "thesis.doc").exists()


def test_an_export_that_fails_leaves_nothing(exporter: Exporter) -> None:
    exporter.file("s", [tweet(n) for n in range(10)])
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from aggregator.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["-r", str(exporter.root), "streams", "export", "s", "--format", "jsonl", "--to", str(exporter.to)]

    ran = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "nothing was written" in ran.stderr
    assert os.listdir(exporter.root) == ["data"]


def test_what_a_killed_export_left_does_not_matter(exporter: Exporter) -> None:
    exporter.file("s", [tweet(n) for n in range(10)])
    script = (
        "import os, signal, sys; os.rename = lambda *names: os.kill(os.getpid(), signal.SIGKILL); "
        "from aggregator.cli import main; main(sys.argv[1:])"
    )
    words = ["-r", str(exporter.root), "streams", "export", "s", "--format", "jsonl", "--to", str(exporter.to)]
    killed = subprocess.run([sys.executable, "-c", script, *words], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL and not exporter.to.exists()

    assert exporter.run("s") == 0

    assert len(exporter.lines()) == 10
    assert sorted(os.listdir(exporter.root)) == ["data", "out"]


def test_each_event_is_exported_once_by_its_id(exporter: Exporter) -> None:
    edited = STATUS.replace(b'"edited_at":null', b'"edited_at":"2026-08-03T00:00:00.000Z"')
    exporter.file("a", [tweet(1), ("update", STATUS), ("status.update", edited), b'{"limit":{"track":1}}'])
    exporter.file("b", [tweet(1), ("update", STATUS), ("status.update", edited), b'{"limit":{"track":1}}', *JETSTREAM])
    exporter.file("c", JETSTREAM)

    exporter.run("a", "b", "c", "--dedupe")

    assert len(exporter.lines()) == 3 + 2 + len(JETSTREAM)
    assert f"{3 + len(JETSTREAM)} duplicate" in exporter.out
    exporter.run("a", "--dedupe", "--overwrite", form="ids")
    assert len(exporter.lines()) == 2


NOTICES = [
    b'{"delete":{"status":{"id":1234,"id_str":"1234","user_id":3,"user_id_str":"3"}}}',
    b'{"scrub_geo":{"user_id":14,"user_id_str":"14","up_to_status_id":2326,"up_to_status_id_str":"2326"}}',
    b'{"status_withheld":{"id":77,"user_id":123456,"withheld_in_countries":["DE","AR"]}}',
    b'{"user_withheld":{"id":123456,"withheld_in_countries":["DE","AR"]}}',
]


def test_what_twitter_took_back_is_left_out_however_late_it_said_so(exporter: Exporter) -> None:
    geo = b'"geo":{"x":1.10},"coordinates":{"coordinates":[1.10,2.0]}'
    places = [b'{"id":%d,"text":"t","user":{"id":14},"n":1.10,%s}' % (n, geo) for n in (2326, 2327)]
    events = [
        tweet(1234),
        tweet(77),
        tweet(78, user={"id": 123456}),
        tweet(79, retweeted_status={"id": 1234, "user": {"id": 3}}),
        tweet(80, quoted_status={"id": 1234, "text": "gone", "user": {"id": 3}}),
        *places,
        tweet(81),
    ]
    exporter.file("t", events)
    exporter.file("t", NOTICES, at_ms=NOON + 1000 * HOUR_MS)
    words = ["t", "--start", "2023-11-15", "--end", "2023-11-16"]

    exporter.run(*words, "--honour-deletions")

    assert exporter.lines() == [
        b'{"id":80,"id_str":"80","text":"t","user":{"id": 7, "id_str": "7", "screen_name": "u"},"quoted_status":null}',
        b'{"id":2326,"text":"t","user":{"id":14},"n":1.10,"geo":null,"coordinates":null}',
        places[1],
        events[7],
    ]
    assert "left out 2 deleted, 2 withheld" in exporter.out
    assert "2 events are without" in exporter.readme()
    exporter.run(*words, "--overwrite")
    assert exporter.lines() == events


def test_both_versions_of_jetstream_are_the_same_events(exporter: Exporter) -> None:
    exporter.file("one", JETSTREAM)
    exporter.file("two", JETSTREAM_2)
    tables = []
    for name in ("one", "two"):
        exporter.run(name, "--overwrite", form="csv")
        with (exporter.to / "part-00001.csv").open(newline="") as file:
            tables.append([{**row, "stream": "", "json": ""} for row in csv.DictReader(file)])

    exporter.run("one", "two", "--dedupe", "--overwrite")

    assert tables[0] == tables[1] and len(tables[0]) == 49
    assert f"{len(JETSTREAM)} duplicate" in exporter.out


@pytest.mark.parametrize("version", [1, 2])
def test_what_mastodon_and_bluesky_took_back_is_left_out(exporter: Exporter, version: int) -> None:
    boost = b'{"id":"9","account":{"id":"1"},"content":"","reblog":{"id":"117024248092393661"}}'
    exporter.file("m", [("update", STATUS), ("update", boost), ("delete", b"117024248092393661")])
    record = (
        b'{"did":"did:x:1","time_us":%d,"kind":"commit",'
        b'"commit":{"operation":"%s","collection":"app.bsky.feed.post","rkey":"r","record":{"text":"t"}}}'
    )
    gone = b'{"did":"did:x:2","time_us":9,"kind":"account","account":{"active":false,"status":"deleted"}}'
    anew = record % (30, b"create")
    other = (record % (3, b"create")).replace(b"did:x:1", b"did:x:2")
    lines = [record % (10, b"create"), record % (20, b"delete"), anew, other, gone]
    exporter.file("b", [*map(second_version, lines)] if version == 2 else lines)

    exporter.run("m", "b", "--honour-deletions", form="csv")

    with (exporter.to / "part-00001.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [(row["stream"], row["id"]) for row in rows] == [("b", "at://did:x:1/app.bsky.feed.post/r")]
    assert "4 deleted" in exporter.out


def test_the_readme_tells_every_change_of_the_rules_once(exporter: Exporter) -> None:
    def asked(
        at_ms: int, *rules: dict[str, str], removed: tuple[dict[str, str], ...] = (), continues: bool = False
    ) -> Connection:
        return Connection(
            stream="s",
            at_ms=at_ms,
            type="x_v2",
            url="https://x.example",
            rules=rules,
            removed=removed,
            continues=continues,
        )

    cats, dogs = {"rule_id": "1", "value": "cats", "tag": "t"}, {"rule_id": "2", "value": "dogs"}
    exporter.file("s", [tweet(1)], connections=[asked(NOON, cats), asked(NOON + 5000, dogs, continues=True)])
    later = NOON + 24 * HOUR_MS
    changes = [asked(NOON + 5000, dogs, cats), asked(later + 9000, removed=(cats,), continues=True)]
    exporter.file("s", [tweet(2)], at_ms=later, connections=changes)

    exporter.run("s")

    rows = [line for line in exporter.readme().splitlines() if "https://x.example" in line]
    assert [row.split(" | ")[-1].rstrip(" |") for row in rows] == ["+ 1: cats (t)", "+ 2: dogs", "- 1: cats (t)"]
    assert [row[2:22] for row in rows] == ["2023-11-15T12:00:00Z", "2023-11-15T12:00:05Z", "2023-11-16T12:00:09Z"]


def test_the_readme_tells_settings_history_and_gaps(exporter: Exporter) -> None:
    def connection(at_ms: int, track: str) -> Connection:
        return Connection(stream="s", at_ms=at_ms, type="twitter_v1", url="https://t.example", filters={"track": track})

    asked = [connection(NOON, "one"), connection(NOON + 5, "one"), connection(NOON + 9, "two | `x`\x1b[2J")]
    exporter.file("s", [tweet(1)], connections=asked)
    exporter.file("s", [tweet(2)], at_ms=NOON + 24 * HOUR_MS, connections=[connection(NOON + 24 * HOUR_MS, "later")])
    exporter.recording.gap("s", NOON - HOUR_MS, NOON - HOUR_MS + 1)
    exporter.recording.gap("s", NOON + 1000, NOON + 4000, lost=12, detail="the network was away")

    exporter.run("s", "--start", "2023-11-15T12", "--end", "2023-11-15T13", "--dedupe")

    text = exporter.readme()
    assert "| start | 2023-11-15T12:00:00Z |" in text and "| dedupe | yes |" in text
    assert [text.count(word) for word in ('"one"', "two ", '"later"')] == [1, 1, 1]
    assert "\x1b" not in text and "two \\| " in text
    assert "Gaps: 1; seconds in all: 3." in text
    assert "| 2023-11-15T12:00:01Z | 2023-11-15T12:00:04Z | disconnect | 12 | the network was away |" in text
    assert "gaps in this time: 1;" in exporter.out


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_a_damaged_file_is_named_and_does_not_stop_the_export(form: str, exporter: Exporter) -> None:
    path = exporter.file("s", [tweet(n) for n in range(50)], form=form)
    exporter.file("s", [tweet(99)], at_ms=NOON + HOUR_MS)
    path.write_bytes(path.read_bytes()[:-40])

    assert exporter.run("s", form="ids") == 1

    assert exporter.lines() == [b"%d" % n for n in (*range(49), 99)]
    assert exporter.out.startswith(f"damaged: s/2023/11/15/12/{path.name}: cut: ")
    assert "of 50 events 1 are missing" in exporter.out
    assert path.name in exporter.readme()


def test_bytes_that_are_not_those_of_the_sidecar_are_told(exporter: Exporter) -> None:
    path = exporter.file("s", [tweet(1), tweet(2)])
    path.write_bytes(gzip.compress(tweet(1) + b"\n"))

    assert exporter.run("s") == 1

    assert "not those that its sidecar tells of; of 2 events 1 are missing" in exporter.out


def test_what_is_still_written_is_exported_as_far_as_it_goes(exporter: Exporter) -> None:
    path = exporter.file("s", [tweet(1), tweet(2)], is_open=True)
    path.write_bytes(path.read_bytes()[:-40])

    assert exporter.run("s", form="ids") == 0

    assert exporter.lines() == [b"1"]
    assert "no sidecar" in exporter.out


def test_what_was_organized_is_exported_and_its_known_cut_is_no_failure(exporter: Exporter) -> None:
    old = exporter.root / "old"
    old.mkdir()
    lines = [tweet(n, os.urandom(30).hex()) for n in range(100)]
    data = gzip.compress(b"\r\n\r\n".join(lines))
    (old / "twitterfilter-2-2014-04-11T04:34:28Z.gz").write_bytes(data[: len(data) // 2])
    os.utime(old / "twitterfilter-2-2014-04-11T04:34:28Z.gz", (1_397_190_000, 1_397_190_000))
    main(["-r", str(exporter.root), "streams", "organize", str(old)])

    assert exporter.run("twitterfilter-2", "--end", "2014-04-12", form="ids") == 0

    ids = [int(line) for line in exporter.lines()]
    assert ids == [*range(len(ids))] and 40 < len(ids) < 60
    assert "known: " in exporter.out


def test_links_are_not_followed(exporter: Exporter) -> None:
    path = exporter.file("s", [tweet(1)])
    outside = exporter.root / "outside.gz"
    path.rename(outside)
    path.symlink_to(outside)
    (exporter.recording.directory / "s/2024").symlink_to(exporter.recording.directory / "s/2023")
    exporter.file("s", [tweet(2)], at_ms=NOON + 1000)

    exporter.run("s", form="ids")

    assert exporter.lines() == [b"2"]


def test_a_line_without_an_end_is_passed_over(exporter: Exporter) -> None:
    path = exporter.file("s", [tweet(1)], is_open=True)
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(100 << 20)) + gzip.compress(b"\n" + tweet(2)))

    assert exporter.run("s", form="ids") == 1

    assert "lines longer than may be read: 1" in exporter.out
    assert exporter.lines() == [b"1", b"2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["other"], "nothing is recorded of 'other'"), (["s", "--directory", "none"], "no such folder")],
)
def test_what_is_not_there_is_bad_usage(words: list[str], told: str, exporter: Exporter) -> None:
    exporter.file("s", [tweet(1)])

    assert exporter.run(*words) == 2
    assert told in exporter.err and not exporter.to.exists()


def test_a_time_of_which_nothing_is_recorded_writes_nothing(exporter: Exporter) -> None:
    exporter.file("s", [tweet(1)])

    assert exporter.run("s", "--end", "2020-01-01") == 1
    assert not exporter.to.exists()


def test_json_tells_the_counts(exporter: Exporter) -> None:
    exporter.file("s", [tweet(1), tweet(1)])

    exporter.run("s", "--dedupe", "--json")

    told = simplejson.loads(exporter.out)
    assert (told["ok"], told["read"], told["exported"], told["left_out"]) == (True, 2, 1, {"duplicate": 1})
    assert told["parts"] == [{"name": "part-00001.jsonl", "rows": 1, "size_bytes": len(tweet(1)) + 1}]


def test_a_store_is_read_as_the_folder_is(exporter: Exporter) -> None:
    exporter.file("s", TWEETS)
    exporter.recording.gap("s", NOON, NOON + 1000)
    store = DirectoryStore(exporter.root / "store")
    for path in exporter.recording.directory.rglob("*"):
        if path.is_file():
            store.put(f"archive/{path.relative_to(exporter.recording.directory)}", path)

    assert exporter.run("s", "--store", f"file://{exporter.root}/store", "-p", "archive") == 0

    assert exporter.lines() == TWEETS
    assert "Gaps: 1; seconds in all: 1." in exporter.readme()


def test_numbers_of_hostile_notices_do_not_stop_an_export(exporter: Exporter) -> None:
    deep = b'{"id":1,"text":"","user":{},"quoted_status":' * 300 + b"null" + b"}" * 300
    events = [
        b'{"scrub_geo":{"user_id":7,"up_to_status_id":%s}}' % (b"9" * 40),
        b'{"did":"d","kind":"commit","time_us":-%s,"commit":{"operation":"delete"}}' % (b"9" * 40),
        '{"id_str":"²","text":"","user":{"id":7},"geo":{"a":1},"created_at":"0001-01-01T00:00:00+14:00"}'.encode(),
        deep,
    ]
    exporter.file("s", events)

    assert exporter.run("s", "--honour-deletions", form="csv") == 0


def test_an_unknown_loss_in_a_file_with_a_known_cut_is_a_failure(exporter: Exporter) -> None:
    old = exporter.root / "old"
    old.mkdir()
    data = gzip.compress(b"\r\n".join(tweet(n, os.urandom(30).hex()) for n in range(100)))
    (old / "s-2014-04-11T04-34-28Z.gz").write_bytes(data[:-100])
    os.utime(old / "s-2014-04-11T04-34-28Z.gz", (1_397_190_000, 1_397_190_000))
    main(["-r", str(exporter.root), "streams", "organize", str(old)])
    [path] = exporter.recording.directory.rglob("*.jsonl.gz")
    path.write_bytes(data[: len(data) // 2])

    assert exporter.run("s") == 1

    assert "are missing" in exporter.out
