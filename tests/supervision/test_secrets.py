"""Secrets are for the owner alone."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from tests.supervision.building import PIPELINE, REDIS, TWO, build_from


def test_secrets_are_for_the_owner_alone_and_in_no_program_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "sesame")
    text = "[supervisor]\npassword = open\n[process_a]\ncommand = fetch --key %(ENV_API_KEY)s\n"
    build_from(tmp_path, REDIS + text + "[process_redis]\ncommand = x\n" + PIPELINE)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.conf")}
    texts = [path.read_text() for path in (tmp_path / "workers_available").iterdir()]
    assert modes["supervisord.conf"] == 0o600
    assert not any(secret in text for secret in ("hush", "open", "sesame") for text in texts)
    assert "open" not in (tmp_path / "supervisord.conf").read_text()
    assert str(tmp_path) not in "".join(texts)


def test_a_generated_password_is_private_and_stays(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    first = (tmp_path / "run/password").read_text()

    build_from(tmp_path, TWO + "[supervisor]\nport = 9002\n")

    assert len(first.strip()) >= 16
    assert stat.S_IMODE((tmp_path / "run/password").stat().st_mode) == 0o600
    assert (tmp_path / "run/password").read_text() == first


def test_a_hashed_password_is_kept_as_it_is(tmp_path: Path) -> None:
    hashed = "{SHA}" + hashlib.sha1(b"guest").hexdigest()

    build_from(tmp_path, f"[supervisor]\nusername = guest\npassword = {hashed}\n" + TWO)

    assert f"username = guest\npassword = {hashed}\n" in (tmp_path / "supervisord.conf").read_text()
    assert not (tmp_path / "run/password").exists()


def test_a_file_whose_mode_was_opened_is_closed_again(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    (tmp_path / "supervisord.conf").chmod(0o644)

    assert build_from(tmp_path, TWO) == ("chmod   supervisord.conf 0600",)
    assert stat.S_IMODE((tmp_path / "supervisord.conf").stat().st_mode) == 0o600
