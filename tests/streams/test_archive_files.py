"""The stage `archive`, fed by `record`: finished files of streams, sidecars and gaps in stores of every kind."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import Reject, Retry, Unavailable
from aggregator.feeds.archive import Archive
from aggregator.feeds.query.catalogue import find_bundles
from aggregator.runtime.message import Message, encode_body
from aggregator.stores import open_store
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.settings import settings_of
from aggregator.stores.store import Store
from aggregator.streams.depositing.finished import FinishedFiles
from aggregator.streams.depositing.gaps import StoredGaps
from aggregator.streams.query.recorded import read_files
from aggregator.streams.reading.places import StorePlace, gaps_of, sidecar_beside
from aggregator.streams.recording.paths import mark_of, possible_paths, sidecar_of
from tests.feeds.stepping import Stepped
from tests.stores.conftest import KINDS
from tests.stores.servers import Proxy, without_conditions
from tests.streams.recorded import NOON, TWEETS, Recording

NAME = "s/2023/11/15/12/s-2023-11-15T12-00-00Z.jsonl.gz"
KEY = f"captured/{NAME}"


class Fed:
    """The stage with a store, and a folder with finished files before it."""

    def __init__(self, root: Path, store: dict[str, Any], **options: Any) -> None:
        self.root = root
        self.recording = Recording(root / "data/streams")
        settings = {"store": "test", "prefix": "captured", "keep": "0", **options}
        self.stage = Stepped(Archive, root, store_settings=settings_of(**store), **settings)

    @property
    def folder(self) -> Path:
        return self.recording.directory

    def file(self, *events: bytes, stream: str = "s", at_ms: int = NOON) -> Path:
        """Finish a file without telling of it."""
        return self.recording.file(stream, list(events or TWEETS[:3]), at_ms=at_ms)

    def told(self, path: Path, **changed: Any) -> dict[str, Any]:
        """Return what `record` sends of a file."""
        said = json.loads(sidecar_of(path).read_bytes())
        file = str(path.relative_to(self.root))
        facts = {"size_bytes": said["size_bytes"], "count": said["count"], "first_ms": NOON, "last_ms": NOON}
        return {
            "kind": "recorded", "stream": said["stream"], "file": file, "sidecar": f"{file}.json",
            "sha256": said["sha256"], **facts, **changed,
        }  # fmt: skip

    def push(self, *paths: Path) -> None:
        self.stage.push(*map(self.told, paths))

    def later(self, seconds: float = 61.0) -> int:
        """Let time pass, and the stage look around; return how many messages it made."""
        self.stage.now += seconds
        return self.stage.idle()

    def left(self) -> list[str]:
        """Return the files that are here, without marks and notes."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def findings(self) -> set[str]:
        return {code for code, _ in self.stage.context.reports}


def keys(store: Store) -> list[str]:
    return sorted(info.key for info in store.list())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_its_sidecar_and_the_gaps_are_stored_and_leave_this_disk(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    fed = Fed(tmp_path, options)
    fed.recording.gap("s", NOON, NOON + 5)
    path = fed.file()
    content, sidecar = path.read_bytes(), sidecar_of(path).read_bytes()
    fed.push(path)
    fed.stage.run()
    fed.later()

    gaps = fed.folder / "s/s.gaps.jsonl"
    assert keys(store) == [KEY, f"{KEY}.json", "captured/s/s.gaps.jsonl"]
    assert [store.get(key)[0] for key in keys(store)] == [content, sidecar, gaps.read_bytes()]
    assert fed.left() == ["s/s.gaps.jsonl"]
    assert fed.stage.context.counts["stored"] == 1 and not fed.findings()


def test_a_file_stays_here_as_long_as_asked(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"}, keep="1h")
    path = fed.file()
    fed.push(path)
    fed.stage.run()

    fed.later(3000)
    assert path.exists() and sidecar_of(path).exists()
    fed.later(700)
    assert fed.left() == []


def test_the_folders_of_the_time_go_when_nothing_needs_them(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    fed.push(path)
    fed.stage.run()

    fed.later()
    assert mark_of(path).exists()  # a message that comes again is known by it
    fed.later(90_000)
    fed.later()
    assert not (fed.folder / "s/2023").exists() and (fed.folder / "s").exists()


def test_a_file_stays_until_the_commit(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    fed.push(path)
    fed.stage.step(commit=False)
    fed.later()

    assert path.exists() and sidecar_of(path).exists()


@pytest.mark.parametrize("point", ["before the commit", "after the commit"])
def test_a_kill_around_the_commit_stores_the_file_once(tmp_path: Path, point: str) -> None:
    options = {"url": f"file://{tmp_path}/store"}
    fed = Fed(tmp_path, options)
    fed.push(fed.file())
    fed.stage.step(commit=point == "after the commit", committed=False)
    fed.stage.restart()
    fed.stage.run()
    # the message is done with, but the mark was not written: the file is found on the disk
    fed.push(fed.file(at_ms=NOON + 3_600_000))
    fed.stage.run()
    fed.later()
    fed.stage.run()
    fed.later()

    with_sidecars = [key for key in keys(open_store(**options)) if not key.endswith(".json")]
    assert with_sidecars == [KEY, KEY.replace("/12/", "/13/").replace("T12", "T13")]
    assert fed.left() == [] and not fed.findings()


def test_a_kill_between_removing_the_file_and_its_sidecar_is_made_good(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"}, keep="1h")
    path = fed.file()
    fed.push(path)
    fed.stage.run()
    path.unlink()
    fed.stage.restart()
    fed.push(fed.file(at_ms=NOON + 3_600_000))
    fed.stage.run()

    fed.later(4000)
    assert fed.left() == [] and not fed.findings()


def test_a_redis_that_comes_back_a_little_older_finds_the_file_stored(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    message = fed.told(path)
    fed.stage.push(message)
    fed.stage.run()
    fed.stage.push(message)
    fed.stage.run()
    fed.later()
    fed.stage.push(message)
    fed.stage.run()
    assert fed.stage.context.counts["stored"] == 1

    mark_of(path).unlink()
    fed.stage.push(message)
    fed.stage.run()  # without its mark, the store itself is asked


def test_a_file_that_is_neither_here_nor_stored_is_told(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    fed.push(path)
    path.unlink()
    with pytest.raises(Reject, match="it is lost"):
        fed.stage.step()


def test_the_same_bytes_in_the_store_are_fine(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    tag = store.put(KEY, path)
    fed.push(path)
    fed.stage.run()

    assert keys(store) == [KEY, f"{KEY}.json"] and store.get(KEY)[1] == tag
    assert not fed.findings()


@pytest.mark.parametrize("kind", ["directory", "moto"])
def test_other_bytes_in_the_store_are_never_replaced_and_nothing_is_lost(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    store.put(KEY, b"other")
    fed = Fed(tmp_path, options)
    path = fed.file()
    content = path.read_bytes()
    fed.push(path)
    fed.stage.run()

    assert store.get(KEY)[0] == b"other"
    [ours] = [key for key in keys(store) if key != KEY and not key.endswith(".json")]
    assert store.get(ours)[0] == content and store.head(f"{ours}.json") is not None
    assert store.head(f"{KEY}.json") is None and fed.findings() == {"name_taken"}


def test_two_machines_with_one_stream_keep_both_files_of_a_second(tmp_path: Path) -> None:
    options = {"url": f"file://{tmp_path}/store"}
    for number, machine in enumerate(("a", "b")):
        fed = Fed(tmp_path / machine, options)
        fed.push(fed.file(TWEETS[number]))
        fed.stage.run()
        fed.later()
        assert fed.left() == []

    place = StorePlace(open_store(**options), "captured")
    lines = set()
    for file in place.files("s"):
        assert sidecar_beside(place, file) is not None
        with place.open(file.name) as reader:
            lines.add(gzip.decompress(reader.read()).strip())
    assert lines == set(TWEETS[:2])


def test_a_store_without_conditions_gets_names_that_stand_for_the_content(
    tmp_path: Path, proxy: Proxy, prefix: str
) -> None:
    proxy.trouble = without_conditions("if-none-match", "if-match")
    fed = Fed(tmp_path, proxy.options(prefix))
    fed.recording.gap("s", NOON, NOON + 5)
    path = fed.file()
    fed.push(path, path)
    fed.stage.run()
    fed.later()

    place = StorePlace(fed.stage.stage._store, "captured")  # type: ignore[attr-defined]
    [file] = place.files("s")
    assert file.name != NAME and file.start_ms == NOON
    assert len(list(gaps_of(place, "s"))) == 1
    assert fed.left() == ["s/s.gaps.jsonl"] and not fed.findings()


def test_while_the_store_is_away_the_file_waits(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    fed = Fed(tmp_path, proxy.options(prefix))
    fed.recording.gap("s", NOON, NOON + 5)
    path = fed.file()
    fed.push(path)
    proxy.trouble = lambda exchange: exchange.refuse(503, "SlowDown")
    with pytest.raises(Unavailable):
        fed.stage.step()
    assert path.exists()

    proxy.trouble = lambda exchange: exchange.pass_on()
    fed.stage.run()
    proxy.trouble = lambda exchange: exchange.refuse(503, "SlowDown")
    with pytest.raises(Unavailable):
        fed.later()
    assert path.exists()  # a store that cannot be asked whether it has the file

    proxy.trouble = lambda exchange: exchange.pass_on()
    fed.later(0)
    assert fed.left() == ["s/s.gaps.jsonl"]
    assert f"{KEY}.json" in keys(fed.stage.stage._store)  # type: ignore[attr-defined]


def test_what_was_damaged_on_its_way_is_not_taken_for_stored(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    fed = Fed(tmp_path, proxy.options(prefix))
    path = fed.file()
    fed.push(path)

    def flip(exchange: Any) -> None:
        response = exchange.forward()
        content = response.content
        if exchange.method == "GET" and exchange.path.endswith(".jsonl.gz") and response.status == 200:
            content = content[:-1] + bytes([content[-1] ^ 1])
        exchange.answer(response.status, response.getheaders(), content)

    proxy.trouble = flip
    with pytest.raises((Retry, Unavailable)):
        fed.stage.step()
    proxy.trouble = lambda exchange: exchange.pass_on()
    assert path.exists() and not mark_of(path).exists()
    fed.stage.run()
    fed.later()
    assert fed.left() == []


def test_the_sidecar_follows_its_file(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    written: list[str] = []

    def watch(exchange: Any) -> None:
        if exchange.method == "PUT" and NAME in exchange.path:
            written.append(exchange.path.rpartition("/")[2])
        exchange.pass_on()

    fed = Fed(tmp_path, proxy.options(prefix))
    fed.push(fed.file())
    proxy.trouble = watch
    fed.stage.run()

    name = NAME.rpartition("/")[2]
    assert [each.partition("?")[0] for each in written] == [name, f"{name}.json"]


def test_a_file_that_the_store_has_lost_is_stored_again_and_told(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"}, keep="1h")
    path = fed.file()
    fed.push(path)
    fed.stage.run()
    store.delete(KEY)

    assert fed.later(4000) == 1
    assert path.exists() and fed.findings() == {"stored_file_gone"}
    fed.stage.run()
    assert store.head(KEY) is not None


def test_a_file_without_a_message_is_found_once(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    fed.push(fed.file())
    fed.stage.run()
    forgotten = fed.file(at_ms=NOON + 3_600_000)

    assert fed.later() == 1
    fed.stage.ready.clear()  # as if it was set aside
    assert fed.later() == 0 and forgotten.exists()
    fed.stage.restart()
    fed.push(fed.file(at_ms=NOON + 7_200_000))
    fed.stage.run()
    assert fed.later() == 0


def test_a_section_that_record_feeds_looks_for_files_from_the_start(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    fed.file()
    assert fed.later() == 0

    parser = RawConfigParser()
    parser.read_dict({"worker_record": {"stage": "record", "listento": "events", "pushto": "in@node"}})
    fed.stage.context.config_parser = lambda: parser
    fed.stage.stage.start()
    assert fed.later() == 1


def test_an_archive_of_feeds_loads_nothing_of_streams() -> None:
    program = "import sys, aggregator.feeds.archive; print([m for m in sys.modules if 'aggregator.streams' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_open_file_is_left_alone(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    fed.push(fed.file())
    fed.stage.run()
    path = fed.recording.file("s", TWEETS[:1], at_ms=NOON + 900_000, is_open=True)
    fed.later()
    fed.later()

    assert fed.left() == [str(path.relative_to(fed.folder))]


def test_another_directory_is_told_to_the_configuration() -> None:
    parser = RawConfigParser()
    record = {"stage": "record", "listento": "events", "pushto": "done", "directory": "/big"}
    parser.read_dict({"store_a": {}, "worker_record": record})
    faults = list(Archive.check(Archive.Settings(listento="done", store="a"), parser))

    assert [option for option, _ in faults] == ["directory"] and "write directory = /big" in faults[0][1]
    assert not list(Archive.check(Archive.Settings(listento="done", store="a", directory="/big/"), parser))


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../etc/passwd"},
        {"file": "data/streams/s/s.gaps.jsonl"},
        {"file": f"data/streams/{NAME}".replace("s-2023", "t-2023")},
        {"stream": "t"},
        {"sidecar": "loglines.cfg"},
        {"sha256": "0" * 64},
    ],
)
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    told = {**fed.told(fed.file()), **change}
    if "file" in change and "sidecar" not in change:
        told["sidecar"] = f"{told['file']}.json"
    raw = encode_body(told)
    with pytest.raises(Reject):
        list(fed.stage.stage.handle(Message(raw, raw)))
    assert keys(open_store(f"file://{tmp_path}/store")) == []


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    told = fed.told(path)
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    raw = encode_body(told)
    with pytest.raises(Reject, match="link"):
        list(fed.stage.stage.handle(Message(raw, raw)))


def test_a_file_that_changed_after_it_was_finished_is_not_stored(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    fed.push(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(Reject):
        fed.stage.step()
    assert path.exists() and keys(open_store(f"file://{tmp_path}/store")) == []


def test_a_sidecar_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    fed.push(fed.file())
    fed.stage.run()
    path = fed.file(at_ms=NOON + 3_600_000)
    sidecar_of(path).write_bytes(b"{")

    assert fed.later() == 0 and fed.findings() == {"stream_file_damaged"}


def test_gaps_are_added_as_they_come_and_none_goes(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    fed.push(fed.file())
    fed.stage.run()
    gaps = fed.folder / "s/s.gaps.jsonl"
    for number in range(3):
        fed.recording.gap("s", number, number + 5)
        with gaps.open("ab") as file:
            file.write(b'{"kind":"gap","stre')  # what is being written
        fed.later()
        gaps.write_bytes(gaps.read_bytes().rpartition(b"\n")[0] + b"\n")
        assert store.get("captured/s/s.gaps.jsonl")[0] == gaps.read_bytes()

    before = gaps.read_bytes()
    gaps.unlink()
    fed.recording.gap("s", 10, 15)
    fed.later()
    assert store.get("captured/s/s.gaps.jsonl")[0] == before + gaps.read_bytes()


class Asked(DirectoryStore):
    """A store that notes which objects were read and written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls: list[str] = []

    def get(self, key: str) -> tuple[bytes, str]:
        self.calls.append("get")
        return super().get(key)

    def put(self, key: str, *args: Any, **options: Any) -> str:
        self.calls.append("put")
        return super().put(key, *args, **options)


def test_of_gaps_only_what_is_new_is_read_and_sent(tmp_path: Path) -> None:
    recording, store = Recording(tmp_path / "streams"), Asked(tmp_path / "store")
    files = FinishedFiles(recording.directory, tmp_path)
    stored = StoredGaps(files, store, "", "i", conditional=True)
    path, key = recording.directory / "s/s.gaps.jsonl", "s/s.i.gaps.jsonl"
    recording.gap("s", 1, 2)
    stored.bring("s")
    assert stored.changed() == [] and store.calls == ["get", "put", "get"]

    with path.open("ab") as file:
        file.write(b'{"kind":"gap","stre')  # what is being written
    assert stored.changed() == ["s"]
    stored.bring("s")
    assert stored.changed() == [] and store.calls == ["get", "put", "get"]

    # `record` was killed before it had committed the line, and another one takes its place
    path.unlink()
    recording.gap("s", 3, 40)
    recording.gap("s", 5, 60)
    stored.bring("s")
    assert store.get(key)[0].count(b"\n") == 3

    store.delete(key)
    recording.gap("s", 7, 80)
    stored.bring("s")
    assert store.get(key)[0] == path.read_bytes()


def test_the_name_of_a_file_that_was_removed_is_not_given_again(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    path = fed.file()
    fed.push(path)
    fed.stage.run()
    fed.later()

    assert not path.exists()
    assert next(possible_paths(fed.folder, "s", NOON, "gz")) != path


def test_since_when_a_stream_was_captured_is_known_after_its_files_went(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    for at_ms in (NOON + 3_600_000, NOON):
        fed.push(fed.file(at_ms=at_ms))
        fed.stage.run()
        fed.later()

    assert read_files([fed.folder], "s") == (0, 0, NOON, None)


def test_bundles_and_files_of_streams_under_one_prefix_are_kept_apart(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    store = open_store(f"file://{tmp_path}/store")
    store.put("captured/2024-02-08/12/s-2024-02-08T120000Z.tar.gz", b"a bundle")
    fed.push(fed.file())
    fed.stage.run()

    assert [(found.feed, len(found.objects)) for found in find_bundles(store, "captured")] == [("s", 1)]
    place = StorePlace(store, "captured")
    assert place.streams() == ["s"] and [file.name for file in place.files("s")] == [NAME]


def test_a_note_of_a_found_file_goes_with_its_file(tmp_path: Path) -> None:
    fed = Fed(tmp_path, {"url": f"file://{tmp_path}/store"})
    fed.push(fed.file())
    fed.stage.run()
    fed.file(at_ms=NOON + 3_600_000)
    fed.later()
    assert [name for name in fed.stage.cursors if name.startswith("found:stream:")]
    fed.stage.run()
    fed.later()
    fed.later()

    assert not [name for name in fed.stage.cursors if name.startswith("found:stream:")]
