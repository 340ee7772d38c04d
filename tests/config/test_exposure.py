"""What other users or other machines could see is a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config.sections import Address
from tests.config.configuring import configure


@pytest.mark.parametrize(
    ("text", "address"),
    [("9001", "127.0.0.1:9001"), ("localhost:80", "localhost:80"), ("127.0.0.2:1", "127.0.0.2:1")],
)
def test_the_web_pages_are_for_this_machine(text: str, address: str, tmp_path: Path) -> None:
    config = configure(tmp_path, f"[redis]\n[supervisor]\nport = {text}\n")

    assert str(config.supervisor.port) == address
    assert config.supervisor.port.loopback


@pytest.mark.parametrize("text", ["*:9001", "0.0.0.0:9001", ":9001"])
def test_open_web_pages_with_a_password_are_a_warning(text: str, tmp_path: Path) -> None:
    config = configure(tmp_path, f"[redis]\n[supervisor]\nport = {text}\npassword = x\n", mode=0o640)

    assert config.supervisor.port == Address("", 9001)
    assert config.warnings == (
        f"{tmp_path}/loglines.cfg:3 [supervisor] port: other machines can reach it, and it speaks plain HTTP "
        "(found *:9001); 127.0.0.1 is safer",
    )


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ('A=1,TOKEN="hunter3"', "TOKEN"),
        ("GITHUB_TOKEN = hunter3", "GITHUB_TOKEN"),
        ("A=1,\n  PGPASSWORD='hunter3'", "PGPASSWORD"),
        ('AWS_SECRET_ACCESS_KEY="hunter3"', "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_secret_in_a_program_file_is_a_warning(environment: str, name: str, tmp_path: Path) -> None:
    config = configure(tmp_path, f"[redis]\n[process_a]\ncommand = x\nenvironment = {environment}\n", mode=0o640)

    words = f"{name} can be read by everybody in workers_available/process_a.conf; set it elsewhere and write"
    advice = f'{words} {name}="%(ENV_{name})s" here'
    assert config.warnings == (f"{tmp_path}/loglines.cfg:4 [process_a] environment: {advice}",)


FEED = "[redis]\n[feed_a]\nurl = https://x.org/\nextension = pb\n{}\n[worker_d]\nstage = download\npushto = f\n"


@pytest.mark.parametrize(
    ("section", "line", "option"),
    [
        ("[redis]\npassword = hunter3\n", 2, "[redis] password"),
        ("[redis]\nurl = redis://:hunter3@localhost/0\n", 2, "[redis] url"),
        ("[redis]\n[supervisor]\npassword = hunter3\n", 3, "[supervisor] password"),
        ("[redis]\n[store_a]\nurl = s3://bucket/a\naccess_key = a\nsecret_key = hunter3\n", 5, "[store_a] secret_key"),
        (FEED.format("headers.x-api-key = hunter3"), 5, "[feed_a] headers.x-api-key"),
        (FEED.format("proxy = http://me:hunter3@proxy.example:1"), 5, "[feed_a] proxy"),
    ],
)
def test_a_secret_in_a_file_for_everybody_is_a_warning(section: str, line: int, option: str, tmp_path: Path) -> None:
    words = (
        "can be read by everybody, as this file can; chmod o-r it, or write %(ENV_NAME)s here and set NAME elsewhere"
    )

    def told(mode: int) -> list[str]:
        return [text for text in configure(tmp_path, section, mode=mode).warnings if "everybody" in text]

    assert told(0o644) == [f"{tmp_path}/loglines.cfg:{line} {option}: {words}"]
    assert told(0o640) == []


def test_each_secret_in_a_file_for_everybody_is_told(tmp_path: Path) -> None:
    text = "[redis]\npassword = hunter3\n[supervisor]\npassword = hunter4\n"

    assert [warning.split(": ")[0].split("cfg:")[1] for warning in configure(tmp_path, text).warnings] == [
        "2 [redis] password",
        "4 [supervisor] password",
    ]


def test_a_secret_that_a_variable_holds_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELD", "hunter3")
    text = (
        "[redis]\nurl = redis://:%(ENV_HELD)s@localhost/0\n[supervisor]\npassword = %(ENV_HELD)s\n"
        '[process_a]\ncommand = x\nenvironment = TOKEN="%(ENV_HELD)s",TOKEN_FILE=/x,PASSWORD=""\n'
    )

    assert configure(tmp_path, text).warnings == ()
