"""Drive the stage `capture` in this process, as its worker would, with commits that happen or not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from aggregator.config.parsing import parse_settings
from aggregator.config.sections import RulesSettings
from aggregator.config.tables import Table
from aggregator.runtime.context import NO_RULES, Context
from aggregator.runtime.contract import Cursor, Flush, Lease, Send
from aggregator.runtime.lease import Leases
from aggregator.streams.capture import Capture
from aggregator.streams.credentials import CredentialSettings


class NoLeases:
    """Leases of a Redis in which nobody ever had one."""

    def cursors(self, lease: Lease) -> dict[str, str]:
        """Return no positions."""
        return {}


class Captured:
    """One stream; as a context manager it is started and stopped. What was committed stays for the next start."""

    def __init__(
        self,
        root: Path,
        credential: CredentialSettings | None = None,
        rules_in: RulesSettings = NO_RULES,
        *,
        pool: Mapping[str, CredentialSettings] | None = None,
        leases: Leases | None = None,
        **options: Any,
    ) -> None:
        self.root = root
        self.options = {"pushto": "events", **({} if credential is None else {"credential": "c"}), **options}
        if pool:
            self.options["pool"] = "p"
        self._credentials = pool or {"c": credential}
        self._leases = leases or NoLeases()
        self._rules_in = rules_in
        self.cursors: dict[str, str] = {}
        self.messages: list[dict[str, Any]] = []
        self.context: Context

    def __enter__(self) -> Captured:
        settings, faults = parse_settings(Capture.Settings, {name: str(text) for name, text in self.options.items()})
        assert settings is not None and not faults, faults
        self.context = Context(
            section="stream_s",
            number=0,
            node="here",
            root=self.root,
            cursors=dict(self.cursors),
            table=lambda kind: Table(self._credentials),
            rules=self._rules_in,
        )
        self.context.attach(None, self._leases)  # type: ignore[arg-type]
        self.stage = Capture(settings, self.context)
        self.stage.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stage.stop()

    def until(self, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Commit what comes until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (self.context.counts, self.context.notes, self.messages[-3:])
            self.step()

    def step(self) -> None:
        """Commit what has come."""
        sent: list[dict[str, Any]] = []
        for outcome in self.stage.poll(time.time()):
            if isinstance(outcome, Send):
                body = outcome.body
                sent.append(json.loads(body) if isinstance(body, bytes) else body)
            elif isinstance(outcome, Cursor):
                assert outcome.value is not None
                self.cursors[outcome.name] = outcome.value
            elif isinstance(outcome, Flush):
                self.messages += sent
                sent = []
                self.stage.committed()

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of a kind that were committed."""
        return [message for message in self.messages if message["kind"] == kind]

    @property
    def events(self) -> list[Any]:
        """The events that were committed, as the platform sent them."""
        return [message["event"] for message in self.of_kind("event")]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The gaps that were committed."""
        return self.of_kind("gap")

    @property
    def counts(self) -> dict[str, int]:
        """What was counted."""
        return dict(self.context.counts)

    def has_gaps(self) -> bool:
        """True once a gap was committed."""
        return bool(self.gaps)
