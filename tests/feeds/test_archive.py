"""The stage `archive`: one object a feed and period that holds what everybody brought, in stores of every kind."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import ConfigError, Reject, Retry, Unavailable
from aggregator.feeds.archive import Archive
from aggregator.feeds.bundle.bundles import read_bundle, save_bundle
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.bundle.revisions import revision_path
from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.runtime.message import Message, encode_body
from aggregator.stores.settings import settings_of
from aggregator.stores.store import Store
from tests.feeds.bundles import HOUR, MemoryBody, body, bundle, contents, manifest, subway_bodies
from tests.feeds.stepping import FEED, Stepped
from tests.servers import wait_until
from tests.stores.conftest import KINDS
from tests.stores.servers import Proxy, S3Server, SeaweedFS, without_conditions

KEY = f"feeds/2024-02-08/12/{FEED}-{write_stamp(HOUR)}.tar"


def archive(root: Path, options: dict[str, Any], **more: Any) -> Stepped:
    """Return the stage with a store; a stored bundle leaves the disk at once unless `keep` says otherwise."""
    settings = {"store": "test", "prefix": "/feeds/", "keep": "0", **more}
    return Stepped(Archive, root, store_settings=settings_of(**options), **settings)


def local_bundle(
    root: Path,
    bodies: list[MemoryBody],
    *,
    node: str = "here",
    format_name: str = "zst",
    revision: int = 1,
    start: int = HOUR,
) -> dict[str, Any]:
    """Save a bundle as `compress` does, and return its message."""
    name = BundleName(FEED, start, format_name)
    path = revision_path(FeedFolders(root / "data/feeds"), name, revision)
    hashes = [hashlib.sha256(one.data).hexdigest() for one in bodies]
    ticks = [Tick(planned_ms=(HOUR + n) * 1000, outcome="ok", sha256=sha256) for n, sha256 in enumerate(hashes)]
    written = save_bundle(path, bodies, [manifest(node, ticks)], format_name)
    return {
        "feed": FEED,
        "start": write_stamp(start),
        "period_s": 3600,
        "revision": revision,
        "file": str(path.relative_to(root)),
        "sha256": written.sha256,
        "size": written.size_bytes,
        "contents_id": written.contents_id,
        "level": "default",
    }


def names_in(store: Store, key: str) -> list[str]:
    return list(contents(store.get(key)[0]))


def keys(store: Store) -> list[str]:
    return sorted(info.key for info in store.list("feeds/"))


def local_files(root: Path) -> list[Path]:
    return [path for path in (root / "data/feeds").rglob("*") if path.is_file()]


@pytest.fixture
def own_seaweedfs(tmp_path: Path) -> Iterator[S3Server]:
    """A SeaweedFS to be killed and started again."""
    with SeaweedFS(tmp_path / "seaweedfs") as server:
        yield server


each_kind = pytest.mark.parametrize("kind", KINDS)
quick_kinds = pytest.mark.parametrize("kind", ["directory", "moto"])


@each_kind
def test_a_bundle_is_stored_under_its_key_and_leaves_this_disk(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    stage = archive(tmp_path / "one", options)
    message = local_bundle(stage.root, subway_bodies())
    data = (stage.root / message["file"]).read_bytes()
    stage.push(message)
    stage.run()

    assert keys(store) == [KEY + ".zst"] and store.get(KEY + ".zst")[0] == data
    assert local_files(stage.root) == [] and list((stage.root / "data/feeds/bundles").iterdir()) == []


@quick_kinds
def test_the_local_bundle_stays_until_the_commit(tmp_path: Path, options: dict[str, Any], store: Store) -> None:
    stage = archive(tmp_path / "one", options)
    message = local_bundle(stage.root, subway_bodies())
    stage.push(message)
    stage.step(commit=False)
    before = store.get(KEY + ".zst")
    assert (stage.root / message["file"]).exists()
    stage.restart()
    stage.run()

    assert store.get(KEY + ".zst") == before and local_files(stage.root) == []


@each_kind
def test_two_machines_make_one_object_with_the_union(tmp_path: Path, options: dict[str, Any], store: Store) -> None:
    bodies = subway_bodies()
    for node, share in (("a", bodies[:8]), ("b", bodies[4:])):
        stage = archive(tmp_path / node, options)
        stage.push(local_bundle(stage.root, share, node=node))
        stage.run()

    [key] = keys(store)
    held = read_bundle(io.BytesIO(store.get(key)[0]))
    assert names_in(store, key) == [one.name for one in bodies]
    assert [manifest.header.node for manifest in held.manifests] == ["a", "b"]


@quick_kinds
def test_the_order_of_arrival_does_not_show_in_the_object(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    bodies = subway_bodies()
    results = []
    for order in (1, -1):
        for node, share in [("a", bodies[:5]), ("b", bodies[3:9]), ("c", bodies[6:])][::order]:
            stage = archive(tmp_path / f"{node}{order}", options)
            stage.push(local_bundle(stage.root, share, node=node))
            stage.run()
        [key] = keys(store)
        results.append(store.get(key)[0])
        store.delete(key)

    assert results[0] == results[1]


@each_kind
def test_an_archive_of_the_old_program_is_taken_in_and_removed(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    bodies = subway_bodies()
    store.put(KEY + ".bz2", old_archive(bodies[:7]))
    stage = archive(tmp_path / "one", options)
    stage.push(local_bundle(stage.root, bodies[5:]))
    stage.run()

    assert keys(store) == [KEY + ".zst"]
    assert names_in(store, KEY + ".zst") == [one.name for one in bodies]


def old_archive(bodies: list[MemoryBody]) -> bytes:
    """Return what the old program made of these: a tar.bz2 whose members lie in a folder."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:bz2") as tar:
        for one in bodies:
            info = tarfile.TarInfo(f"{FEED}/{one.name}")
            info.size, info.mtime = len(one.data), one.mtime
            tar.addfile(info, io.BytesIO(one.data))
    return target.getvalue()


@quick_kinds
def test_machines_with_different_formats_agree_on_one_object(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    bodies = subway_bodies()
    for round_ in range(2):
        for node, format_name, share in (("a", "gz", bodies[:6]), ("b", "xz", bodies[4:]), ("c", "bz2", bodies[:3])):
            stage = archive(tmp_path / f"{node}{round_}", options)
            stage.push(local_bundle(stage.root, share, node=node, format_name=format_name))
            stage.run()

    assert keys(store) == [KEY + ".xz"]
    assert names_in(store, KEY + ".xz") == [one.name for one in bodies]


@quick_kinds
def test_other_bytes_under_one_name_are_both_kept(tmp_path: Path, options: dict[str, Any], store: Store) -> None:
    for node in ("a", "b"):
        stage = archive(tmp_path / node, options)
        stage.push(local_bundle(stage.root, [body(HOUR + 1, node.encode())], node=node))
        stage.run()

    [key] = keys(store)
    assert sorted(contents(store.get(key)[0]).values()) == [b"a", b"b"]


def test_a_store_without_conditions_gets_keys_that_name_their_contents_to_be_united_later(
    tmp_path: Path, proxy: Proxy, prefix: str
) -> None:
    proxy.trouble = without_conditions("if-none-match", "if-match")
    options = proxy.options(prefix)
    bodies = subway_bodies()
    stages = []
    for node, share in (("a", bodies[:8]), ("b", bodies[4:])):
        stages.append(archive(tmp_path / node, options))
        stages[-1].push(local_bundle(stages[-1].root, share, node=node))
        stages[-1].run()
    store = stages[0].stage._store  # type: ignore[attr-defined]
    apart = keys(store)
    assert len(apart) == 2 and all(key.startswith(KEY[:-3]) and key.endswith(".tar.zst") for key in apart)
    assert "no conditional writes" in stages[0].context.notes["store"]

    for stage in stages:
        stage.run(until=HOUR + 3600)
    [key] = keys(store)
    assert names_in(store, key) == [one.name for one in bodies]


def test_once_a_store_keeps_conditions_what_was_written_without_is_taken_in(
    tmp_path: Path, proxy: Proxy, prefix: str
) -> None:
    bodies = subway_bodies()
    proxy.trouble = without_conditions("if-none-match", "if-match")
    first = archive(tmp_path / "a", proxy.options(prefix))
    first.push(local_bundle(first.root, bodies[:8], node="a"))
    first.run()
    proxy.trouble = lambda exchange: exchange.pass_on()
    second = archive(tmp_path / "b", proxy.options(prefix))
    second.push(local_bundle(second.root, bodies[4:], node="b"))
    second.run()

    store = second.stage._store  # type: ignore[attr-defined]
    assert keys(store) == [KEY + ".zst"] and names_in(store, KEY + ".zst") == [one.name for one in bodies]


def test_while_the_store_is_away_the_bundle_waits(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    stage = archive(tmp_path / "one", proxy.options(prefix))
    message = local_bundle(stage.root, subway_bodies())
    stage.push(message)
    proxy.trouble = lambda exchange: exchange.refuse(503, "SlowDown")
    with pytest.raises(Unavailable):
        stage.step()
    assert (stage.root / message["file"]).exists()

    proxy.trouble = lambda exchange: exchange.pass_on()
    stage.run()
    assert keys(stage.stage._store) == [KEY + ".zst"] and local_files(stage.root) == []  # type: ignore[attr-defined]


def test_what_was_damaged_on_its_way_is_not_removed_here(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    stage = archive(tmp_path / "one", proxy.options(prefix))
    message = local_bundle(stage.root, subway_bodies())
    stage.push(message)

    def flip(exchange: Any) -> None:
        response = exchange.forward()
        data = bytearray(response.content)
        if exchange.method == "GET" and KEY in exchange.path:
            data[len(data) // 2] ^= 1
        exchange.answer(response.status, response.getheaders(), bytes(data))

    proxy.trouble = flip
    with pytest.raises(Exception, match=r"hash|not what was written"):
        stage.step()
    assert (stage.root / message["file"]).exists()


def test_something_else_under_the_key_is_left_alone(tmp_path: Path) -> None:
    options = {"url": f"file://{tmp_path}/store"}
    stage = archive(tmp_path / "one", options)
    store = stage.stage._store  # type: ignore[attr-defined]
    store.put(KEY + ".zst", b"somebody's poem")
    message = local_bundle(stage.root, subway_bodies())
    stage.push(message)

    with pytest.raises(Reject, match="no bundle that could be united"):
        stage.step()
    assert store.get(KEY + ".zst")[0] == b"somebody's poem" and (stage.root / message["file"]).exists()


def test_a_bundle_that_changed_on_this_disk_is_not_stored(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    message = local_bundle(stage.root, subway_bodies())
    (stage.root / message["file"]).write_bytes(bundle(subway_bodies()[:1]))
    stage.push(message)

    with pytest.raises(Reject, match="its hash is another"):
        stage.step()


def test_a_folder_where_a_bundle_belongs_holds_up_its_message_only(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    message = local_bundle(stage.root, subway_bodies())
    path = stage.root / message["file"]
    path.rename(tmp_path / "before")
    path.mkdir()
    raw = encode_body(message)
    with pytest.raises(Retry, match=path.name):
        list(stage.stage.handle(Message(raw, raw)))

    path.rmdir()
    (tmp_path / "before").rename(path)
    stage.push(message)
    stage.run()
    assert local_files(stage.root) == []


def test_a_bundle_whose_name_no_file_can_bear_does_not_pause_the_worker(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    stage.push({**local_bundle(stage.root, subway_bodies()), "file": f"data/feeds/bundles/{'n' * 300}"})

    with pytest.raises((Reject, OSError)):
        stage.step()


def test_a_redis_that_comes_back_a_little_older_finds_the_bundle_still_there(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"}, keep="1m")
    message = local_bundle(stage.root, subway_bodies()[4:])
    store_as_another(tmp_path, subway_bodies()[:4])
    stage.push(message)
    stage.run(until=HOUR + 59)
    stage.push(message)
    stage.run(until=HOUR + 118)
    stage.idle()
    assert (stage.root / f"{message['file']}.stored").exists()

    stage.run(until=HOUR + 119)
    stage.idle()
    assert local_files(stage.root) == []
    store = stage.stage._store  # type: ignore[attr-defined]
    assert names_in(store, KEY + ".zst") == [one.name for one in subway_bodies()]


def store_as_another(folder: Path, bodies: list[MemoryBody]) -> None:
    other = archive(folder / "other", {"url": f"file://{folder}/store"})
    other.push(local_bundle(other.root, bodies, node="other"))
    other.run()


def test_a_bundle_stays_here_for_a_minute_after_it_was_stored_unless_told_otherwise() -> None:
    assert Archive.Settings(listento="q", store="s").keep == 60


@quick_kinds
def test_a_missing_bundle_is_taken_for_stored_if_an_object_is_that_very_bundle(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    stage = archive(tmp_path / "one", options)
    message = local_bundle(stage.root, subway_bodies())
    stage.push(message)
    stage.run()
    stage.push(message)
    stage.run()

    stage.push({**message, "start": write_stamp(HOUR + 3600)})
    with pytest.raises(Reject, match="is missing, and no object"):
        stage.step()


def test_a_missing_bundle_is_not_taken_for_stored_because_another_machine_stored_its_period(tmp_path: Path) -> None:
    store_as_another(tmp_path, subway_bodies()[:4])
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    message = local_bundle(stage.root, subway_bodies()[4:])
    (stage.root / message["file"]).unlink()
    stage.push(message)

    with pytest.raises(Reject, match="is missing, and no object"):
        stage.step()


def test_a_lost_second_revision_is_not_taken_for_stored_because_the_first_is(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    stage.push(local_bundle(stage.root, subway_bodies()[:4]))
    stage.run()
    message = local_bundle(stage.root, subway_bodies()[4:], revision=2)
    (stage.root / message["file"]).unlink()
    stage.push(message)

    with pytest.raises(Reject, match="is missing, and no object"):
        stage.step()


def test_a_bundle_is_kept_here_for_a_while_when_asked_to(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"}, keep="1d")
    stage.push(local_bundle(stage.root, subway_bodies()))
    stage.run(until=HOUR + 86_399)
    stage.idle()
    assert len(local_files(stage.root)) == 1

    stage.run(until=HOUR + 86_401)
    stage.restart()
    stage.idle()
    assert local_files(stage.root) == []


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../etc/passwd"},
        {"file": "data/feeds/bundles/../../../x.tar.zst"},
        {"file": "data/feeds/bundles/x.tar.exe"},
        {"feed": "../a"},
        {"start": "soon"},
        {"level": "huge"},
        {"contents_id": ""},
        {"contents_id": "../../0123456789abcdef"},
        {"remove": {"file": "loglines.cfg", "sha256": ""}},
        {"unite": {"feed": "a/b", "start": write_stamp(HOUR), "format": "zst", "level": "default"}},
    ],
)
def test_what_is_no_bundle_of_ours_is_rejected(tmp_path: Path, change: dict[str, Any]) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    raw = encode_body({**local_bundle(stage.root, subway_bodies()[:1]), **change})

    with pytest.raises(Reject):
        list(stage.stage.handle(Message(raw, raw)))


def test_a_store_that_no_section_describes_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    stage = archive(tmp_path / "one", {"url": f"file://{tmp_path}/store"})
    config = RawConfigParser()
    config.read_string("[store_tests]\nurl = file:///x\n")

    [(option, fault)] = Archive.check(stage.stage.settings, config)
    assert option == "store" and fault == "there is no section [store_test]; did you mean tests?"


def test_a_server_that_dies_and_returns_loses_nothing(tmp_path: Path, own_seaweedfs: S3Server, prefix: str) -> None:
    options = own_seaweedfs.options(prefix)
    stage = archive(tmp_path / "one", options)
    stage.push(local_bundle(stage.root, subway_bodies()))
    own_seaweedfs.kill()
    with pytest.raises(Unavailable):
        stage.step()
    own_seaweedfs.start()

    def stored() -> bool:
        try:
            stage.run()
        except Unavailable:
            return False
        return True

    wait_until(stored, 60)
    assert local_files(stage.root) == []


def test_a_section_of_faults_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        archive(tmp_path / "one", {"url": f"file://{tmp_path}/store", "region": "x"})


def test_the_newest_period_in_the_store_is_remembered(tmp_path: Path) -> None:
    stage = archive(tmp_path, {"url": f"file://{tmp_path}/store"})
    stage.push(local_bundle(tmp_path, subway_bodies()))
    stage.run()
    stage.restart()

    # an older one that comes late does not set it back
    stage.push(local_bundle(tmp_path, subway_bodies(), start=HOUR - 3600))
    stage.run()

    assert {name: text for name, text in stage.cursors.items() if text} == {f"archived:0:{FEED}": write_stamp(HOUR)}
