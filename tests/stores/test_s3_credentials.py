"""Where credentials come from when none are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.errors import ConfigError
from aggregator.stores import open_store
from tests.stores.servers import S3Server


def test_credentials_come_from_the_environment_when_none_are_given(
    seaweedfs: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = seaweedfs.options(prefix)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["secret_key"])

    store = open_store(given["url"], endpoint_url=given["endpoint_url"])

    assert store.put("key", b"x") == (store.head("key") or pytest.fail("missing")).tag


def test_credentials_come_from_a_profile(
    seaweedfs: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = seaweedfs.options(prefix)
    (tmp_path / "credentials").write_text(
        f"[tester]\naws_access_key_id={given['access_key']}\naws_secret_access_key={given['secret_key']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    store = open_store(given["url"], endpoint_url=given["endpoint_url"], profile="tester")

    assert store.put("key", b"x")
    with pytest.raises(ConfigError, match="nobody"):
        open_store(given["url"], endpoint_url=given["endpoint_url"], profile="nobody")
