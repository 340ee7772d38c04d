"""A file of another program that is given as ours is named as what it is, and nothing of it is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError

OLD = '''
"""Settings with s3cret words."""
from google.transit import gtfs_realtime_pb2

def s3cret_timestamp(path):
    return gtfs_realtime_pb2.FeedMessage.FromString(open(path, "rb").read()).header.timestamp

feeds = [
    ["ACE", "http://x.example/feed?key=s3cret", "gtfs", s3cret_timestamp],
["s3cret", "http://me:s3cret@x.example/", "gtfs", s3cret_timestamp],
["s3cret", "http://me:s3cret@x.example/", "gtfs", s3cret_timestamp]
]
boto3_client_settings = {
    "aws_access_key_id": "s3cret",
    "aws_secret_access_key": "s3cret"}
using_remote_storage = True
'''
PYTHON_2 = "print 's3cret'\n" + OLD
FOREIGN = {
    "yaml": "feeds:\n  - url: http://x.example/?key=s3cret\ns3cret\n",
    "toml": "key = 's3cret'\n[feeds]\ntoken = 's3cret'\n",
    "text": "s3cret\ns3cret: s3cret\n= s3cret\n[s3cret\n",
    "env": "export KEY=s3cret\n",
}


def problems(file: Path, text: str) -> tuple[str, ...]:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file, file.parent)
    return raised.value.problems


@pytest.mark.parametrize("text", [OLD, PYTHON_2])
def test_the_old_settings_are_one_line_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    file = tmp_path / "remote_settings.py"

    (line,) = problems(file, text)

    assert line == f"{file}: a Python file of the old aggregator; `aggregator feeds import {file}` reads it"


@pytest.mark.parametrize("kind", FOREIGN)
def test_of_another_programs_file_no_line_is_shown(tmp_path: Path, kind: str) -> None:
    (line,) = problems(tmp_path / "settings", FOREIGN[kind])

    assert "no configuration of aggregator" in line
    assert "s3cret" not in line


def test_what_was_pasted_into_ours_is_told_by_line_and_not_shown(tmp_path: Path) -> None:
    told = problems(tmp_path / "loglines.cfg", "[redis]\nurl = redis://localhost/0\n" + OLD)

    assert len(told) > 5
    assert not [line for line in told if "=s3cret" in line or ":s3cret" in line or '"s3cret' in line]


def test_the_same_goes_for_a_table_of_feeds(tmp_path: Path) -> None:
    (tmp_path / "feeds.csv").write_text(OLD)

    told = problems(
        tmp_path / "loglines.cfg", "[redis]\nurl = redis://localhost/0\n[aggregator]\nfeeds_file = feeds.csv\n"
    )

    assert len(told) == 1 and "feeds.csv is a Python file of the old aggregator" in told[0]
    assert "s3cret" not in told[0]


def test_a_command_shows_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "remote_settings.py").write_text(OLD)

    command = [sys.executable, "-m", "aggregator", "-r", str(tmp_path), "-s", "remote_settings.py", "download"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 2
    assert "aggregator feeds import" in ran.stderr
    assert len((ran.stdout + ran.stderr).splitlines()) == 1
    assert "s3cret" not in ran.stdout + ran.stderr
