from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.errors import Unavailable
from aggregator.files.zstd import ZstdDecompressor
from aggregator.runtime.contract import Cursor, Send
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message
from aggregator.streams.messages import Connection, Event, Gap
from aggregator.streams.record import Record
from aggregator.streams.recording.paths import mark_of, sidecar_of
from aggregator.streams.rules.telling import in_parts
from tests.logs.driving import make

NOON_MS = 1_795_867_200_000  # 2026-11-28T12:00:00Z


def event(number: int, at_ms: int = NOON_MS, stream: str = "s", **more: Any) -> Event:
    return Event(stream=stream, received_ms=at_ms, event=msgspec.Raw(b'{"n": %d}' % number), **more)


class Recording:
    """A stage with its commits; `crash` forgets what was not committed."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.options = {"listento": "events", "save_interval": "15m", "pushto": "done", **options}
        self.cursors: dict[str, str] = {}
        self.sent: list[Any] = []
        self.now = NOON_MS / 1000
        self.stage = self.start()

    @property
    def folder(self) -> Path:
        return self.root / "data/streams"

    def start(self) -> Record:
        self.stage = make(Record, self.root, dict(self.cursors), clock=lambda: self.now, **self.options)
        self.stage.start()
        return self.stage

    def handle(self, *messages: Any) -> None:
        for message in messages:
            raw = encode(message)
            assert list(self.stage.handle(Message(raw, raw))) == []

    def commit(self, *, idle: bool = False) -> None:
        self.take(list(self.stage.idle(self.now) if idle else self.stage.settle(self.now)))
        self.stage.committed()

    def take(self, outcomes: list[Any]) -> None:
        """Take effect as a commit does."""
        for outcome in outcomes:
            if isinstance(outcome, Send):
                self.sent.append(json.loads(bytes(outcome.body)))  # type: ignore[arg-type]
            elif isinstance(outcome, Cursor) and outcome.value is None:
                self.cursors.pop(outcome.name, None)
            else:
                self.cursors[outcome.name] = outcome.value

    def idle(self, later_s: float) -> None:
        self.now += later_s
        self.commit(idle=True)

    def crash(self) -> None:
        for _, file in self.stage._open.values():
            file.release()
        for _, _, closing in self.stage._closing.values():
            if closing is not None:
                closing.release()
        for gaps in self.stage._gaps.values():
            gaps.release()
        self.start()

    def files(self, stream: str = "s") -> dict[str, list[Any]]:
        """Return the files of a stream, by their names, with their lines."""
        paths = sorted((self.folder / stream).rglob("*.jsonl.*"))
        return {
            str(path.relative_to(self.folder)): [json.loads(line) for line in gzip.open(path)]
            for path in paths
            if path.suffix == ".gz"
        }

    def numbers(self) -> list[list[int]]:
        return [[line["n"] for line in lines] for lines in self.files().values()]

    def sidecars(self) -> list[Any]:
        return [json.loads(path.read_bytes()) for path in sorted((self.folder / "s").rglob("*.gz.json"))]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path)


def test_a_file_lies_in_the_hour_of_its_first_event_and_has_the_platforms_bytes(recording: Recording) -> None:
    text = b'{"big": 12345678901234567890123, "f": 1.10, "s":"\\u00e9\xc3\xa9"}'
    recording.handle(Event(stream="s", received_ms=NOON_MS + 754_000, event=msgspec.Raw(text)))
    recording.commit()

    path = recording.folder / "s/2026/11/28/12/s-2026-11-28T12-12-34Z.jsonl.gz"
    assert gzip.decompress(path.read_bytes()) == text + b"\n"


def test_zcat_reads_a_file_at_any_time(recording: Recording) -> None:
    for number in range(3):
        recording.handle(event(number))
        recording.commit()
        [path] = recording.folder.rglob("*.gz")
        done = subprocess.run(["zcat", path], capture_output=True, check=True)
        assert len(done.stdout.splitlines()) == number + 1


def test_a_period_is_a_file(recording: Recording) -> None:
    recording.handle(*(event(n, NOON_MS + n * 60_000) for n in range(40)))
    recording.commit()

    assert list(recording.files()) == [
        "s/2026/11/28/12/s-2026-11-28T12-00-00Z.jsonl.gz",
        "s/2026/11/28/12/s-2026-11-28T12-15-00Z.jsonl.gz",
        "s/2026/11/28/12/s-2026-11-28T12-30-00Z.jsonl.gz",
    ]
    assert recording.numbers() == [list(range(15)), list(range(15, 30)), list(range(30, 40))]


def test_streams_have_files_of_their_own(recording: Recording) -> None:
    recording.handle(event(1, stream="a"), event(2, stream="b"), event(3, stream="a"))
    recording.commit()

    assert [[line["n"] for line in lines] for lines in recording.files("a").values()] == [[1, 3]]
    assert [[line["n"] for line in lines] for lines in recording.files("b").values()] == [[2]]


def test_a_quiet_stream_is_rotated_too(recording: Recording) -> None:
    recording.handle(event(1))
    recording.commit()
    recording.idle(901)
    assert recording.sidecars() == []

    recording.idle(10)
    recording.idle(1)

    [sidecar] = recording.sidecars()
    [told] = recording.sent
    assert sidecar["count"] == 1 and told["kind"] == "recorded"
    assert told["file"] == "data/streams/s/2026/11/28/12/s-2026-11-28T12-00-00Z.jsonl.gz"
    assert recording.cursors == {}


def test_an_event_that_comes_after_its_file_is_finished_gets_another_file(recording: Recording) -> None:
    recording.handle(event(1))
    recording.commit()
    recording.idle(1000)
    recording.idle(1)
    recording.handle(event(2))
    recording.commit()

    assert list(recording.files()) == [
        "s/2026/11/28/12/s-2026-11-28T12-00-00Z-1.jsonl.gz",
        "s/2026/11/28/12/s-2026-11-28T12-00-00Z.jsonl.gz",
    ]
    assert recording.numbers() == [[2], [1]]


def test_a_backlog_makes_a_file_of_each_period_and_not_of_each_batch(recording: Recording) -> None:
    recording.now += 7200  # it was received two hours ago
    for number in range(100):
        recording.handle(event(number, NOON_MS + number * 18_000))
        recording.commit()
        recording.now += 0.1

    assert [len(numbers) for numbers in recording.numbers()] == [50, 50]
    assert len(recording.sidecars()) == 1

    recording.idle(4)
    recording.idle(2)
    assert [sidecar["count"] for sidecar in recording.sidecars()] == [50, 50]


def test_a_file_that_is_filled_without_pause_is_finished_after_a_period(recording: Recording) -> None:
    for number in range(150):
        recording.now += 10
        recording.handle(event(number))
        recording.commit()

    assert [sidecar["count"] for sidecar in recording.sidecars()] == [92]


@pytest.mark.parametrize("is_clock_ahead", [False, True])
def test_an_event_from_the_future_holds_up_no_rotation(recording: Recording, *, is_clock_ahead: bool) -> None:
    ahead_s = 3 * 86400
    recording.now += ahead_s if is_clock_ahead else 0
    recording.handle(event(0, NOON_MS + ahead_s * 1000))
    recording.commit()
    recording.now -= ahead_s if is_clock_ahead else 0
    for number in range(1, 9):
        recording.now += 900
        recording.handle(event(number, int(recording.now * 1000)))
        recording.commit()
    recording.idle(1000)

    numbers = sorted(recording.numbers())
    wrong = 2 if is_clock_ahead else 3  # up to the end of the file that the event began
    assert numbers == [[*range(wrong)], *([number] for number in range(wrong, 9))]
    assert len(recording.sidecars()) == len(numbers)


def test_a_large_file_is_finished_early(tmp_path: Path) -> None:
    recording = Recording(tmp_path, save_size="1KB")
    for batch in range(3):
        recording.handle(*(event(hash((batch, n))) for n in range(200)))
        recording.commit()

    assert [len(numbers) for numbers in recording.numbers()] == [200, 200, 200]
    assert len(recording.sidecars()) == 2


def test_a_sidecar_says_what_is_in_the_file_and_what_is_missing(recording: Recording) -> None:
    connection = Connection(
        stream="s", at_ms=NOON_MS, type="twitter_v1", url="https://x.org/", filters={"track": "a,b"}
    )
    gap = Gap(stream="s", from_ms=NOON_MS, to_ms=NOON_MS + 5, cause="disconnect", detail="cut", lost=3)
    recording.handle(connection, event(1, NOON_MS + 1000), gap, event(2, NOON_MS + 3000))
    recording.commit()
    recording.idle(1000)

    [sidecar] = recording.sidecars()
    [path] = recording.folder.rglob("*.jsonl.gz")
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert sidecar["sha256"] == digest and sidecar["size_bytes"] == path.stat().st_size
    assert (sidecar["count"], sidecar["first_received"], sidecar["last_received"]) == (
        2,
        "2026-11-28T12:00:01Z",
        "2026-11-28T12:00:03Z",
    )
    assert sidecar["gaps"] == [json.loads(encode(gap))]
    assert sidecar["connections"][0]["filters"] == {"track": "a,b"}


def test_the_next_file_names_the_connection_it_came_through(recording: Recording) -> None:
    recording.handle(Connection(stream="s", at_ms=NOON_MS, type="sse", url="http://x.org/"), event(1))
    recording.commit()
    recording.handle(event(2, NOON_MS + 3_600_000))
    recording.commit()
    recording.idle(7200)

    assert [len(sidecar["connections"]) for sidecar in recording.sidecars()] == [1, 1]


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_next_file_names_the_rules_as_they_have_changed(recording: Recording, is_killed: bool) -> None:
    def asked(at_ms: int, *rules: str, continues: bool = False, removed: tuple[str, ...] = ()) -> Connection:
        came, went = (tuple({"rule_id": rule} for rule in each) for each in (rules, removed))
        told = {"rules": came, "removed": went, "continues": continues}
        return Connection(stream="s", at_ms=at_ms, type="x_v2", url="http://x.org/", **told)

    recording.handle(asked(NOON_MS, "cats", "dogs"), event(1))
    recording.commit()
    recording.handle(asked(NOON_MS + 9, "birds", continues=True, removed=("cats",)), event(2))
    recording.commit()
    if is_killed:
        recording.crash()
    recording.handle(event(3, NOON_MS + 3_600_000))
    recording.commit()
    recording.idle(7200)

    first, second = (sidecar["connections"] for sidecar in recording.sidecars())
    assert [[rule["rule_id"] for rule in each["rules"]] for each in first] == [["cats", "dogs"], ["birds"]]
    [now] = second
    assert [rule["rule_id"] for rule in now["rules"]] == ["dogs", "birds"]
    assert (now["at_ms"], now["continues"]) == (NOON_MS + 9, False)


def follow(first: int, last: int) -> tuple[dict[str, str], ...]:
    """Return rules as they are told of."""
    told = {"orig_type": "userid", "description": "account of somebody", "date_added": "2026-11-28 12:00:00"}
    return tuple({"rule_id": str(n), "value": str(10**17 + n), **told} for n in range(first, last))


def asked(at_ms: int, rules: tuple[dict[str, str], ...], **more: Any) -> list[Connection]:
    """Return the messages of a connection."""
    filters = {"follow": ",".join(rule["value"] for rule in rules)}
    return [*in_parts(Connection(stream="s", at_ms=at_ms, type="t", url="u", rules=rules, filters=filters, **more))]


@pytest.mark.parametrize("is_killed", [False, True])
def test_connections_with_the_same_rules_are_told_by_what_changes(recording: Recording, *, is_killed: bool) -> None:
    before: dict[str, str] = {}
    written = 0
    for number in range(20):
        # one rule goes and one comes with every second connection
        parts = asked(NOON_MS + number, follow(number // 2, 5000 + number // 2), resumed_from=str(number))
        assert len(parts) == 2
        for part in parts:
            recording.handle(part)
            if is_killed:
                recording.commit()
                recording.crash()
        recording.handle(event(number))
        recording.commit()
        provenance = recording.cursors["provenance:s"]
        written += len(provenance) if provenance != before.get("s") else 0
        before["s"] = provenance
    recording.idle(1000)

    [sidecar] = recording.sidecars()
    [path] = recording.folder.rglob("*.gz.json")
    # the first has 5000 rules; filters that changed are told whole
    assert path.stat().st_size < 3_000_000 and written < 20 * 2_500_000
    first, *others = (msgspec.convert(told, Connection) for told in sidecar["connections"])
    assert [told.resumed_from for told in (first, *others)] == [str(number) for number in range(20)]
    for number, told in enumerate(others, 1):
        assert len(told.rules) == len(told.removed) == (0 if number % 2 else 1)
        first = first.after(told)
        assert {rule["rule_id"] for rule in first.rules} == {str(n) for n in range(number // 2, 5000 + number // 2)}
        assert first.filters["follow"].count(",") == 4999
        assert first.filters["follow"].startswith(first.rules[0]["value"])


def test_a_file_whose_sidecar_would_be_too_long_is_finished(recording: Recording) -> None:
    for number in range(20):
        recording.handle(*asked(NOON_MS + number, follow(number * 5000, number * 5000 + 5000)), event(number))
        recording.commit()
    recording.idle(1000)

    assert len(recording.sidecars()) > 2
    assert sum(sidecar["count"] for sidecar in recording.sidecars()) == 20
    assert all(path.stat().st_size < 16_000_000 for path in recording.folder.rglob("*.gz.json"))
    told = [connection["rules"][0]["rule_id"] for each in recording.sidecars() for connection in each["connections"]]
    assert sorted(set(map(int, told))) == [number * 5000 for number in range(20)]


def test_gaps_are_kept_with_the_data(recording: Recording) -> None:
    for number in range(2):
        recording.handle(Gap(stream="s", from_ms=number, to_ms=number + 5, cause="stall"))
        recording.commit()

    lines = (recording.folder / "s/s.gaps.jsonl").read_text().splitlines()
    assert [json.loads(line)["from_ms"] for line in lines] == [0, 1]


def test_what_was_not_committed_is_taken_back(recording: Recording) -> None:
    recording.handle(event(1), Gap(stream="s", from_ms=1, to_ms=2, cause="stall"))
    recording.commit()
    recording.handle(event(2), Gap(stream="s", from_ms=3, to_ms=4, cause="stall"))
    list(recording.stage.settle(recording.now))

    recording.crash()
    recording.handle(event(2), Gap(stream="s", from_ms=3, to_ms=4, cause="stall"))
    recording.commit()

    assert recording.numbers() == [[1, 2]]
    assert len((recording.folder / "s/s.gaps.jsonl").read_text().splitlines()) == 2


@pytest.fixture
def little_room() -> Iterator[Callable[[], None]]:
    """Let no file grow beyond 100 kB, as on a full disk; yield what makes room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[1], before[1]))

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield make_room
    make_room()


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_disk_that_is_full_in_the_middle_of_a_batch_doubles_nothing(
    recording: Recording, little_room: Callable[[], None], *, is_stopped: bool
) -> None:
    large = msgspec.Raw(b'"%b"' % os.urandom(150_000).hex().encode())
    messages = [
        event(1),
        Gap(stream="s", from_ms=1, to_ms=2, cause="stall"),
        event(2, NOON_MS + 3_600_000),
        Event(stream="t", received_ms=NOON_MS, event=large),
        event(3, NOON_MS + 3_600_000),
    ]
    recording.handle(event(0))
    recording.commit()
    recording.handle(*messages)
    for _ in range(3):
        with pytest.raises(Unavailable, match="File too large"):
            list(recording.stage.settle(recording.now))
    little_room()
    if is_stopped:
        recording.stage.stop()
        recording.start()
        recording.handle(*messages)
    recording.commit()
    recording.idle(7200)

    assert recording.numbers() == [[0, 1], [2, 3]]
    assert len((recording.folder / "s/s.gaps.jsonl").read_text().splitlines()) == 1
    assert [sidecar["count"] for sidecar in recording.sidecars()] == [2, 2]
    assert recording.files("t").popitem()[1] == [msgspec.json.decode(large)]


def test_rules_are_not_written_again_with_every_commit(recording: Recording) -> None:
    rules = tuple({"rule_id": str(number), "value": "x" * 100} for number in range(1000))
    asked = Connection(stream="s", at_ms=NOON_MS, type="x_v2", url="http://x.org/", rules=rules)
    recording.handle(asked, event(1))
    recording.commit()
    recording.handle(event(2))

    outcomes = list(recording.stage.settle(recording.now))

    assert sum(len(each.value or "") for each in outcomes if isinstance(each, Cursor)) < 1000


def test_a_first_write_that_was_not_committed_leaves_no_line(recording: Recording) -> None:
    recording.handle(event(1))
    list(recording.stage.settle(recording.now))

    recording.crash()
    recording.handle(event(1))
    recording.commit()

    assert sorted(number for numbers in recording.numbers() for number in numbers) == [1]


def test_a_crash_between_the_commit_and_the_sidecar_is_made_good(recording: Recording) -> None:
    recording.handle(event(1))
    recording.commit()
    recording.now += 1000
    recording.take(list(recording.stage.idle(recording.now)))

    recording.crash()
    recording.idle(1)

    assert [sidecar["count"] for sidecar in recording.sidecars()] == [1]
    assert len(recording.sent) == 1 and recording.cursors == {}


def finish_and_crash(recording: Recording) -> Path:
    """Have a file finished by a process that is killed before it could tell so, and return it."""
    recording.handle(event(1))
    recording.commit()
    recording.now += 1000
    recording.take(list(recording.stage.idle(recording.now)))
    recording.stage.committed()
    [path] = recording.folder.rglob("*.gz")
    return path


def test_a_file_that_was_stored_and_removed_before_it_was_told_of_is_done_with(recording: Recording) -> None:
    path = finish_and_crash(recording)
    for gone in (path, sidecar_of(path)):
        gone.unlink()
    mark_of(path).touch()

    recording.crash()
    recording.idle(1)
    assert recording.sent == [] and recording.cursors == {}


def test_a_file_that_vanished_before_it_was_told_of_is_missed(recording: Recording) -> None:
    path = finish_and_crash(recording)
    path.unlink()

    with pytest.raises(Unavailable, match="was removed before it was finished"):
        recording.crash()


def test_a_finished_file_keeps_its_sidecar_byte_for_byte(recording: Recording) -> None:
    path = finish_and_crash(recording)
    text = sidecar_of(path).read_bytes().replace(b'"version": "', b'"version": "an older ')
    sidecar_of(path).write_bytes(text)  # it may be in a store already

    recording.crash()
    recording.idle(1)
    assert sidecar_of(path).read_bytes() == text and len(recording.sent) == 1


def test_a_finished_file_leaves_no_lock_file(recording: Recording) -> None:
    recording.handle(event(1))
    recording.commit()
    recording.idle(1000)

    assert [path.name for path in (recording.folder / "s/2026").rglob(".*")] == []


def test_zstd_files_consist_of_whole_frames(tmp_path: Path) -> None:
    recording = Recording(tmp_path, format="zst")
    for number in range(3):
        recording.handle(event(number))
        recording.commit()

    [path] = recording.folder.rglob("*.jsonl.zst")
    data, found = path.read_bytes(), []
    while data:
        unpacker = ZstdDecompressor()
        found += unpacker.decompress(data).splitlines()
        data = unpacker.unused_data
    assert [json.loads(line)["n"] for line in found] == [0, 1, 2]


def test_events_with_a_type_keep_it(recording: Recording) -> None:
    recording.handle(
        event(1, type="update"),
        Event(stream="s", received_ms=NOON_MS, event=msgspec.Raw(b"123"), type="delete"),
        Event(stream="s", received_ms=NOON_MS, text="no json"),
        event(2, type="message"),
    )
    recording.commit()

    [path] = recording.folder.rglob("*.gz")
    assert gzip.decompress(path.read_bytes()).splitlines() == [
        b'{"event":"update","payload":{"n": 1}}',
        b'{"event":"delete","payload":123}',
        b"no json",
        b'{"n": 2}',
    ]
