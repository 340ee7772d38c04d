"""What a section `[store_NAME]` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator import registry
from aggregator.config.parsing import parse_settings
from aggregator.errors import ConfigError
from aggregator.stores import open_store
from aggregator.stores.directory import parse_folder
from aggregator.stores.s3settings import Bucket, S3Settings, parse_bucket
from aggregator.stores.settings import FORMS, StoreSettings, parse_prefix
from tests.stores.conftest import KINDS


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///srv/archive", "/srv/archive"),
        ("file://localhost/srv/archive", "/srv/archive"),
        ("file:///srv/my%20archive", "/srv/my archive"),
        ("file:///srv/my archive", "/srv/my archive"),
    ],
)
def test_a_url_names_a_folder(url: str, folder: str) -> None:
    assert parse_folder(url) == Path(folder)


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://bucket", Bucket("bucket", "")),
        ("s3://bucket/", Bucket("bucket", "")),
        ("s3://bucket/a/b", Bucket("bucket", "a/b")),
        (" s3://my.bucket-1/a/ ", Bucket("my.bucket-1", "a")),
    ],
)
def test_a_url_names_a_bucket_and_a_prefix(url: str, bucket: Bucket) -> None:
    assert parse_bucket(url) == bucket


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/archive",
        "file://srv/archive",
        "file:///",
        "s3://",
        "s3:///prefix",
        "s3://b",
        "s3://bucket/../other",
        "s3://bucket//prefix//x",
        "s3://key:secret@bucket/prefix",
        "s3://bucket/prefix?region=x",
        "nosuch://bucket/prefix",
        "http://host/bucket",
        "file:///srv/archive   or s3://bucket/prefix",
        "file:///srv/archive\t\tfor now",
    ],
)
def test_other_urls_are_refused_with_what_is_allowed(url: str) -> None:
    settings, faults = parse_settings(StoreSettings, {"url": url})

    assert settings is None
    assert FORMS in faults[0].text
    with pytest.raises(ConfigError, match=f"allowed: {FORMS}"):
        open_store(url)


def test_a_section_reads_into_settings() -> None:
    settings, faults = parse_settings(
        S3Settings,
        {
            "url": "s3://bucket/feeds",
            "endpoint_url": "https://s3.example.org",
            "region": "fr-par",
            "access_key": "K",
            "secret_key": "S",
            "multipart": "100MB",
            "timeout": "30s",
        },
    )

    assert faults == []
    assert settings == S3Settings(
        url="s3://bucket/feeds",
        endpoint_url="https://s3.example.org",
        region="fr-par",
        access_key="K",
        secret_key="S",
        multipart=100 * 1024**2,
        timeout=30.0,
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "file:///x", "endpoint_url": "http://h"}, "endpoint_url: means nothing to a folder"),
        ({"url": "s3://bucket", "access_key": "K"}, "access_key: access_key and secret_key go together"),
        ({"url": "s3://bucket", "secret_key": "S"}, "secret_key: access_key and secret_key go together"),
        ({"url": "s3://bucket", "access_key": "K", "secret_key": "S", "profile": "p"}, "profile: access_key is given"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_store(**options)


@pytest.mark.parametrize("scheme", registry.STORES)
def test_every_store_is_asked_what_every_store_promises(scheme: str) -> None:
    assert scheme in KINDS.values(), f"give {scheme}:// a kind in tests/stores/conftest.py, for test_contract.py"


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("file:///x", region="r", access_key="K", profile="p")

    assert len(caught.value.problems) == 3


def test_a_prefix_loses_its_outer_slashes_and_cannot_climb() -> None:
    assert parse_prefix("/a/b/") == "a/b"
    assert parse_prefix("") == ""
    for bad in ("a/../b", "a//b", "./a", "a\\b", ".archive", "a/.b", "a" * 256, "a\tb"):
        with pytest.raises(ValueError):
            parse_prefix(bad)
