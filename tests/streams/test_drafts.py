"""A stream that says `enabled = no` may be incomplete; one that runs may not, and no other section may."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from aggregator.supervision import build

HEAD = "[supervisor]\nport = 127.0.0.1:1\n[redis]\n[worker_keep]\ncommand = cat\n"
GOOD = "[stream_a]\ntype = sse\nurl = http://127.0.0.1:1/\npushto = events\nenabled = no\n"


def configure(root: Path, text: str) -> Path:
    """Write loglines.cfg."""
    (root / "loglines.cfg").write_text(text)
    return root / "loglines.cfg"


def test_a_draft_with_faults_makes_no_program_and_its_faults_are_warnings(tmp_path: Path) -> None:
    file = configure(tmp_path, f"{HEAD}[stream_a]\nenabled = no\ntype = sse\nmax_size = 1\n")

    config = load(file, tmp_path)

    assert list(config.programs) == ["worker_keep"]
    assert [line.partition("[stream_a] ")[2].partition(":")[0] for line in config.drafts["stream_a"]] == [
        "pushto", "max_size",
    ]  # fmt: skip
    assert set(config.drafts["stream_a"]) <= set(config.warnings)


def test_a_complete_draft_makes_a_program_without_a_link(tmp_path: Path) -> None:
    config = load(configure(tmp_path, HEAD + GOOD), tmp_path)

    build(config)

    assert config.drafts == {}
    assert (tmp_path / "workers_available/stream_a.conf").exists()
    assert not (tmp_path / "workers_enabled/stream_a.conf").exists()


def test_a_draft_that_somebody_enabled_by_hand_is_checked(tmp_path: Path) -> None:
    build(load(configure(tmp_path, HEAD + GOOD), tmp_path))
    (tmp_path / "workers_enabled/stream_a.conf").symlink_to("../workers_available/stream_a.conf")
    file = configure(tmp_path, HEAD + GOOD.replace("type = sse", "type = nonsense"))

    with pytest.raises(ConfigError, match=r"\[stream_a\] type: bad choice"):
        load(file, tmp_path)


def test_a_worker_of_a_draft_with_faults_does_not_start(tmp_path: Path) -> None:
    file = configure(tmp_path, f"{HEAD}[stream_a]\nenabled = no\n")

    with pytest.raises(ConfigError, match=r"\[stream_a\] type: missing"):
        load(file, tmp_path, "stream_a")


@pytest.mark.parametrize(
    "text",
    [
        "[stream_a]\ntype = sse\n",
        "[stream_a]\nenabled = yes\ntype = sse\n",
        "[worker_a]\nenabled = no\nstage = record\n",
        "[stream_a]\nenabled = no\nneither a section nor an option\n",
        "[stream_a]\nenabled = no\n[stream_b]\ntype = sse\n",
    ],
    ids=["active", "said to be active", "no stream", "fault of form", "another stream"],
)
def test_faults_of_anything_else_are_faults(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(configure(tmp_path, HEAD + text), tmp_path)


def test_a_draft_leaves_an_active_stream_its_credential(tmp_path: Path) -> None:
    stream = "type = x_v2\npushto = events\ncredential = one\n"
    text = f"{HEAD}[credential_one]\nbearer_token = x\n[stream_a]\n{stream}[stream_b]\n{stream}"

    assert load(configure(tmp_path, f"{text}enabled = no\n"), tmp_path).drafts == {}
    with pytest.raises(ConfigError) as raised:
        load(configure(tmp_path, text), tmp_path)
    assert len(raised.value.problems) == 2
    assert "[stream_a] and [stream_b] use it, and x_v2 allows one connection" in raised.value.problems[0]


def test_platforms_without_such_a_limit_share_credentials(tmp_path: Path) -> None:
    stream = "type = sse\nurl = http://127.0.0.1:1/\npushto = events\ncredential = one\n"

    text = f"{HEAD}[credential_one]\nbearer_token = x\n[stream_a]\n{stream}[stream_b]\n{stream}"

    assert len(load(configure(tmp_path, text), tmp_path).programs) == 3


def test_a_credential_of_a_pool_is_named_by_one_stream(tmp_path: Path) -> None:
    text = f"{HEAD}[credential_one]\nbearer_token = x\npool = p\n"
    for name, type_ in (("a", "sse"), ("b", "ndjson")):
        text += f"[stream_{name}]\ntype = {type_}\nurl = http://127.0.0.1:1/\npushto = events\ncredential = one\n"

    with pytest.raises(ConfigError) as raised:
        load(configure(tmp_path, text), tmp_path)

    assert "[stream_a] and [stream_b] use it, and a pool allows one connection" in raised.value.problems[0]
