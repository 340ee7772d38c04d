"""What is wrong with a stream that still runs stands in `status`, in `health` and in `streams list`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec

from aggregator.config.parsing import parse_settings
from aggregator.streams.settings import StreamSettings, asked_of
from aggregator.streams.volume import DAY_H, HOUR_S, Hour, Noted
from tests.feeds.webserver import WebServer, status
from tests.instance import Instance
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.eventserver import event_server


def write_counts(root: Path, stream: str, options: dict[str, str]) -> None:
    """Write the counts of a stream that brought 1,000 events an hour, and nothing in the last hours."""
    settings, faults = parse_settings(StreamSettings, {**options, "pushto": "events"})
    assert settings is not None and not faults
    now = int(time.time())
    this = now // HOUR_S
    # of this hour too, as it may be over when it is looked at
    hours = {this - back: Hour(0 if back < 3 else 1000) for back in range(3 * DAY_H)}
    path = root / f"data/streams/.{stream}.volume"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Noted(asked_of(settings), now, hours)))


def test_a_stream_that_brings_less_than_usual_tells_so_and_counts_what_it_brings(tmp_path: Path) -> None:
    with event_server() as url:
        write_counts(tmp_path, "s", {"type": "sse", "url": url})
        with Captured(tmp_path, type="sse", url=url) as captured:
            captured.until(lambda: captured.context.reports and len(captured.events) > 20)

            [report] = captured.context.reports.values()
            assert (report.code, report.level) == ("volume_fell", "warning")
            assert report.text.startswith("0 events instead of usually 1,000 in the hour from 2")
            assert "(median of this hour of the day, 2 days)" in report.text
            assert report.since % HOUR_S == 0

    noted = json.loads((tmp_path / "data/streams/.s.volume").read_bytes())
    assert sum(events for events, _ in list(noted["hours"].values())[-2:]) >= len(captured.events)


def findings(instance: Instance, *about: str) -> dict[str, dict[str, Any]]:
    """Return what `health` finds about these, by code."""
    return {each["code"]: each for each in instance.json("health")["findings"] if each["about"] in about}


def remark(instance: Instance, section: str) -> str:
    """Return the line of a section in `status`."""
    lines = instance.cli("status").stdout.splitlines()
    return next(line for line in lines if line.startswith(f"{section} "))


def test_a_fall_a_full_disk_and_a_refused_credential_show_in_status_and_health() -> None:
    with WebServer() as server:
        server.answers["/stream"] = status("401 Unauthorized")
        fallen = {"type": "sse", "url": f"{server.url}/stream", "credential": "c"}
        section = "\n".join(f"{name} = {text}" for name, text in fallen.items())
        with Instance(
            f"[credential_c]\nbearer_token = wrong\n[stream_s]\n{section}\npushto = events\nmin_free = 900000GB\n"
            "[worker_record]\nstage = record\nlistento = events\nmin_free = 900000GB\n"
        ) as instance:
            write_counts(instance.root, "s", fallen)
            instance.start()

            codes = {"volume_fell", "disk_low", "credential_refused"}
            wait_until(lambda: codes <= set(findings(instance, "stream_s", "data/streams")), 30, "all is found")

            found = findings(instance, "stream_s", "data/streams")
            assert found["credential_refused"]["level"] == "error"
            assert "401" in found["credential_refused"]["text"]
            assert found["volume_fell"]["text"].startswith("0 events instead of usually 1,000")
            assert "MB are left on its disk" in found["disk_low"]["text"]
            assert instance.cli("health").returncode == 1  # for the credential
            wait_until(lambda: "401" in instance.cli("status").stdout, 30, "status shows the refusal")
            assert "below usual: 0 of 1,000 events/h" in remark(instance, "stream_s")
            assert " MB left" in remark(instance, "worker_record")
            [listed] = instance.json("streams", "list")["streams"]
            assert listed["below_usual"] == "0 of 1,000 events/h" and "401" in listed["connection"]
            assert "below usual: 0 of 1,000 events/h; again in" in instance.cli("streams", "list").stdout
            assert "wrong" not in instance.cli("status").stdout + instance.cli("health").stdout
