"""Queues join sections into a graph: its bounds, its order and its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config import graph
from tests.config.configuring import PIPELINE, configure


def test_queues_join_the_sections_that_feed_and_read_them(tmp_path: Path) -> None:
    config = configure(tmp_path, PIPELINE)

    assert config.warnings == ()
    assert config.consumers == {
        "lines": "worker_copy",
        "ask": "worker_ask",
        "kept@node": "logger_kept",
        "asked": "logger_asked",
    }
    assert config.producers["kept@node"] == ("worker_copy",)
    assert config.programs["worker_copy"].feeds == ("ask", "kept@node")
    assert config.programs["logger_in"].listens is None


def test_the_bound_of_a_queue_is_that_of_the_section_that_reads_it(tmp_path: Path) -> None:
    config = configure(tmp_path, PIPELINE + "maxdepth = 7\n[aggregator]\nnode = n1\n")

    assert config.depth_limit("lines") == 500
    assert config.depth_limit("kept@node") == 100_000
    assert config.depth_limit("kept@n1") == 100_000
    assert config.depth_limit("asked") == 7
    assert config.depth_limit("elsewhere") is None


def test_what_reads_starts_before_what_feeds_it(tmp_path: Path) -> None:
    config = configure(tmp_path, PIPELINE + "[process_redis]\ncommand = redis-server\n[process_demo]\ncommand = x\n")

    assert graph.priorities(config.programs) == {
        "process_redis": 10,
        "process_demo": 10,
        "logger_asked": 100,
        "logger_kept": 100,
        "worker_ask": 200,
        "worker_copy": 300,
        "logger_in": 900,
    }


def test_our_own_redis_starts_first_and_an_explicit_priority_wins(tmp_path: Path) -> None:
    config = configure(tmp_path, "[process_redis]\n[process_a]\ncommand = x\npriority = 5\n")

    assert graph.priorities(config.programs) == {"process_redis": 1, "process_a": 5}


def test_a_long_pipeline_still_ends_before_the_sources(tmp_path: Path) -> None:
    middle = "".join(
        f"[worker_{n}]\nstage = tests.samplestages:Copier\nlistento = q{n}\nfanout = q{n + 1}\n" for n in range(30)
    )
    config = configure(tmp_path, f"[redis]\n[logger_in]\nstage = tests.samplestages:Feeder\npushto = q0\n{middle}")

    found = graph.priorities(config.programs)

    assert found["worker_29"] == 100
    assert [found[f"worker_{n}"] for n in range(30)] == sorted((found[f"worker_{n}"] for n in range(30)), reverse=True)
    assert found["worker_0"] < found["logger_in"] == 900


@pytest.mark.parametrize("last", ["q1200", "q0"])
def test_a_pipeline_may_be_longer_than_python_can_recurse(last: str, tmp_path: Path) -> None:
    middle = "".join(
        f"[worker_{n}]\nstage = tests.samplestages:Copier\nlistento = q{n}\n"
        f"fanout = {last if n == 1199 else f'q{n + 1}'}\n"
        for n in range(1200)
    )

    config = configure(tmp_path, f"[redis]\n{middle}")

    found = graph.priorities(config.programs)
    assert (found["worker_1199"], found["worker_0"]) == (100, 100)
    assert [warning.count(" -> ") for warning in config.warnings if "round for ever" in warning] == (
        [1200] if last == "q0" else []
    )


def test_queues_with_one_end_are_a_warning_each(tmp_path: Path) -> None:
    text = PIPELINE.replace("listento = lines", "listento = linse")

    config = configure(tmp_path, text)

    assert config.warnings == (
        f"{tmp_path}/loglines.cfg:6 [logger_in] pushto: no section reads the queue lines; did you mean linse?",
        f"{tmp_path}/loglines.cfg:9 [worker_copy] listento: no section feeds the queue linse; did you mean lines?",
    )


@pytest.mark.parametrize(
    ("redis", "queue", "warned"),
    [("redis", "fetched", True), ("redis", "fetched@node", False), ("process_redis", "fetched", False)],
)
def test_a_queue_of_files_that_other_machines_may_read_is_a_warning(
    redis: str, queue: str, warned: bool, tmp_path: Path
) -> None:
    text = f"[{redis}]\n[worker_download]\nstage = download\npushto = {queue}\n"
    reader = f"[worker_filter]\nstage = filter\nlistento = {queue}\npushto = published@node\n"

    found = configure(tmp_path, text + reader).warnings

    words = "pushto: messages in fetched name files of this machine, and any on this Redis would take them; call it "
    place = f"{tmp_path}/loglines.cfg:4 [worker_download]"
    assert (f"{place} {words}fetched@node, also where it is read" in found) == warned
    assert len([warning for warning in found if "name files" in warning]) == warned


def test_a_loop_is_a_warning(tmp_path: Path) -> None:
    text = "[redis]\n" + "".join(
        f"[worker_{here}]\nstage = tests.samplestages:Copier\nlistento = {here}\nfanout = {there}\n"
        for here, there in ("ab", "bc", "ca")
    )

    config = configure(tmp_path, text)

    words = "messages may go round for ever: worker_a -> worker_b -> worker_c -> worker_a"
    assert config.warnings == (f"{tmp_path}/loglines.cfg:2 [worker_a]: {words}",)


@pytest.mark.parametrize(
    "followed",
    [
        "data/out.log",
        "x.log, ./data/../data/out.log",
        "data/*.log",
        "ROOT/*/out.log",
        "link/*.log",
        "link/../data/*.log",
    ],
)
def test_a_log_that_is_written_from_itself_is_a_warning(followed: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("data")
    text = (
        f"[redis]\n[logger_in]\nstage = tail\nservicename = s\npushto = a\nlogfile = {followed}\n"
        "[worker_copy]\nstage = tests.samplestages:Copier\nlistento = a\nfanout = b\n"
        "[logger_out]\nstage = logfile\nlistento = b\nlogfile = data/out.log\n"
    )

    config = configure(tmp_path, text.replace("ROOT", str(tmp_path)))

    words = "[logger_in] follows this file, so its lines may go round for ever"
    assert config.warnings == (f"{tmp_path}/loglines.cfg:14 [logger_out] logfile: {words}",)


@pytest.mark.parametrize("followed", ["data/in.log", "*.log", "data/*/out.log"])
def test_a_log_of_another_pipeline_may_be_followed(followed: str, tmp_path: Path) -> None:
    sections = "".join(
        f"[logger_in{name}]\nstage = tail\nservicename = s\npushto = {name}\nlogfile = {log}\n"
        f"[logger_out{name}]\nstage = logfile\nlistento = {name}\nlogfile = data/{name}.log\n"
        for name, log in (("out", followed), ("next", "data/out.log"))
    )

    assert configure(tmp_path, f"[redis]\n{sections}").warnings == ()


def test_a_graph_of_many_branches_is_checked_at_once(tmp_path: Path) -> None:
    sections = ["[redis]\n[logger_in]\nstage = tests.samplestages:Feeder\npushto = l0\n"]
    for step in range(40):
        for side in "lr":
            sections.append(
                f"[worker_{side}{step}]\nstage = tests.samplestages:Copier\nlistento = {side}{step}\n"
                f"fanout = l{step + 1}, r{step + 1}\n"
            )

    config = configure(tmp_path, "".join(sections))

    assert "round for ever" not in "".join(config.warnings)
    assert graph.priorities(config.programs)["worker_l0"] > graph.priorities(config.programs)["worker_r39"]
