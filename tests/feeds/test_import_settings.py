"""The settings of the old realtime aggregator, turned into sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.feeds.settings.oldprogram import BadSettings, Imported, import_settings

OLD = """
from google.transit import gtfs_realtime_pb2

def timestamp_from_gtfs(path):
    with open(path, "rb") as file:
        feed = gtfs_realtime_pb2.FeedMessage.FromString(file.read())
    return feed.header.timestamp or -1

def first_line(path):
    with open(path) as file:
        return int(file.readline())

url = "http://datamine.example/mta_esi.php?key=" + "abc123" + "&feed_id="
feeds = [
    ["1", url + "1", "gtfs", timestamp_from_gtfs],
    ["ACE", url + "26", "gtfs", timestamp_from_gtfs],
    ["text", "http://x.example/%(odd)s?token=other", "txt", first_line],
]
using_remote_storage = True
boto3_client_settings = {
    "service_name": "s3",
    "region_name": "nyc3",
    "endpoint_url": "https://nyc3.spaces.example",
    "aws_access_key_id": "AK",
    "aws_secret_access_key": "SK",
}
bucket = "my-bucket"
global_prefix = "realtime-aggregator/"
"""


def convert(folder: Path, text: str) -> Imported:
    file = folder / "remote_settings.py"
    file.write_text(text)
    return import_settings(file)


def read_back(folder: Path, imported: Imported) -> Config:
    (folder / "loglines.cfg").write_text(f"[redis]\nurl = redis://localhost/0\n{imported.text}")
    return load(folder / "loglines.cfg", folder)


def test_what_it_says_comes_back_from_the_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = convert(tmp_path, OLD)
    (tmp_path / "oldplugins").mkdir()
    for name, value in {
        "FEED_KEY": "abc123", "FEED_TOKEN": "other", "STORE_ACCESS_KEY": "AK", "STORE_SECRET_KEY": "SK",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    text = imported.text.replace("plugins.remote_settings:", "remote_settings:")

    config = read_back(tmp_path, imported._replace(text=text))

    assert {name: (feed.url, feed.extension, feed.timestamp) for name, feed in config.table("feed").all().items()} == {
        "1": ("http://datamine.example/mta_esi.php?key=abc123&feed_id=1", "gtfs", "gtfs-realtime"),
        "ACE": ("http://datamine.example/mta_esi.php?key=abc123&feed_id=26", "gtfs", "gtfs-realtime"),
        "text": ("http://x.example/%(odd)s?token=other", "txt", "remote_settings:first_line"),
    }
    store = config.table("store").entry("main")
    assert store.url == "s3://my-bucket/realtime-aggregator"
    assert (store.endpoint_url, store.region) == ("https://nyc3.spaces.example", "nyc3")
    assert (store.access_key, store.secret_key) == ("AK", "SK")


def test_no_secret_stands_in_the_sections(tmp_path: Path) -> None:
    imported = convert(tmp_path, OLD)

    assert not [secret for secret in ("abc123", "=other", "AK\n", "SK\n") if secret in imported.text]
    assert list(imported.variables) == ["FEED_KEY", "FEED_TOKEN", "STORE_ACCESS_KEY", "STORE_SECRET_KEY"]
    assert imported.variables["FEED_KEY"] == "key in the address of 1"


def test_two_secrets_of_one_name_get_two_variables(tmp_path: Path) -> None:
    feeds = ", ".join(f"['f{n}', 'http://x/?key=k{n % 2}', 'pb', timestamp_from_gtfs]" for n in range(3))
    imported = convert(tmp_path, f"def timestamp_from_gtfs(path): pass\nfeeds = [{feeds}]\n")

    assert [line.partition("ENV_")[2] for line in imported.text.splitlines() if "ENV_" in line] == [
        "FEED_KEY)s", "FEED_KEY_2)s", "FEED_KEY)s"
    ]  # fmt: skip


def test_what_cannot_be_taken_over_is_told(tmp_path: Path) -> None:
    changed = (
        OLD.replace('"text"', '"te/xt"').replace("aggregator/", "aggregator").replace('"s3",', '"s3", "verify": 0,')
    )

    notes = convert(tmp_path, changed).notes

    assert notes == (
        "the feed 'te/xt' is now called 'te_xt': files can bear that name everywhere",
        "remote_settings.py has the function first_line that te/xt needs: copy it to plugins/remote_settings.py",
        "the old keys began with 'realtime-aggregator' and no slash behind it: what is stored there is not found below "
        "realtime-aggregator/, the prefix from now on",
        "boto3_client_settings['verify'] is not taken over",
    )


def test_a_file_without_remote_storage_has_no_store(tmp_path: Path) -> None:
    imported = convert(tmp_path, OLD.replace("using_remote_storage = True", "using_remote_storage = False"))

    assert "[store_main]" not in imported.text
    assert imported.notes[-1] == "it used no remote storage, so there is no section [store_main]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_at_all\n", "no list `feeds` in it"),
        ("x = 1\n", "no list `feeds` in it"),
        (f"feeds = {'(' * 5000}\n", "cannot be read"),
        (f"feeds = {' + '.join(['[1]'] * 5000)}\n", "cannot be read"),
        ('feeds = "{".format()\n', "cannot be read"),
        ("feeds = [\n", "cannot be read: .*line 1"),
        ("a = 1\nfeeds = sorted(b)\n", "line 2: `feeds` is computed; write the list out"),
        ("feeds = [['a', 'http://x/']]\n", r"feeds: the 1\. is not \[name, url, extension, function\]"),
        ("feeds = [['a', 'http://x/', 'pb', 7]]\n", "a: the fourth value is no function"),
        ("feeds = [['a', 'http://x/', 'p/b', len]]\n", "bad extension 'p/b'"),
        ("feeds = [['a', 'http://x/', 'pb', len]] + [['a', 'http://x/', 'pb', len]]\n", "two of the name 'a'"),
        ("exit(3)\n", "no list `feeds` in it"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        convert(tmp_path, text)


BY_HAND = """
import os
from other import gtfs_rt
long: str = "0123456789abcdefghij"
base = "http://%s.example/%%20/" % "one"
feeds = [
    ["login", f"https://joe:hunter2@{'x'}.example/100%/a", "pb", gtfs_rt],
    ["token", "https://" + "tok@x.example/{}?x={y}".format("path", y=long) + "&z=short", "pb", gtfs_rt],
    ["env", base + os.environ["PLACE"] + "?key=" + os.getenv("THE_KEY"), "pb", gtfs_rt],
    ["computed", open("/etc/hostname").read(), "pb", gtfs_rt],
    make_feed("last"),
]
for feed in feeds:
    feed[1] += "?x"
using_remote_storage = True
bucket = "100%%"
global_prefix = "%(here)s/"
boto3_client_settings = {"aws_access_key_id": os.environ.get("AK"), "endpoint_url": find()}
"""


def test_the_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    feeds = "feeds = [['a', 'http://x/', 'pb', gtfs_rt]]"

    imported = convert(tmp_path, f"open({str(mark)!r}, 'w')\n{feeds}\nx = open({str(mark)!r}, 'w')\n")

    assert "[feed_a]" in imported.text and not mark.exists()


def test_what_cannot_be_read_is_to_be_set_by_hand(tmp_path: Path) -> None:
    imported = convert(tmp_path, BY_HAND)

    assert "[feed_computed]\n# url =\nextension = pb\n" in imported.text
    assert imported.notes == (
        "line 13 computes something: set by hand",
        "line 10 computes url of computed: set by hand",
        "line 11 computes the 5. feed: set by hand",
        "line 18 computes endpoint_url: set by hand",
    )


def test_logins_long_values_and_variables_of_the_environment_become_variables(tmp_path: Path) -> None:
    imported = convert(tmp_path, BY_HAND)

    assert [line for line in imported.text.splitlines() if line.startswith(("url", "access"))] == [
        "url = https://joe:%(ENV_FEED_PASSWORD)s@x.example/100%/a",
        "url = https://%(ENV_FEED_LOGIN)s@x.example/path?x=%(ENV_FEED_X)s&z=short",
        "url = http://one.example/%20/%(ENV_PLACE)s?key=%(ENV_THE_KEY)s",
        "url = s3://100%%%%/%%(here)s",
        "access_key = %(ENV_AK)s",
    ]
    assert imported.variables["FEED_PASSWORD"] == "PASSWORD in the address of login"
    assert set(imported.variables) == {"FEED_PASSWORD", "FEED_LOGIN", "FEED_X", "PLACE", "THE_KEY", "AK"}


@pytest.mark.parametrize("value", ["-" * 200_000 + "1", "[" * 300 + "]" * 300, "'x' + " * 3000 + "'y'"])
def test_a_file_that_is_nested_too_deep_is_told_as_that(tmp_path: Path, value: str) -> None:
    with pytest.raises(BadSettings, match=r"cannot be read: (nested too deep|too many nested|maximum recursion)"):
        convert(tmp_path, f"feeds = {value}\n")


def test_what_grows_beyond_every_bound_is_not_computed(tmp_path: Path) -> None:
    doubled = "a = 'x'\n" + "a = a + a\n" * 60

    imported = convert(tmp_path, f"from x import gtfs_rt\n{doubled}feeds = [['b', a, 'pb', gtfs_rt]]\n")

    assert "# url =" in imported.text
    assert any("computes url of b: set by hand" in note for note in imported.notes)
