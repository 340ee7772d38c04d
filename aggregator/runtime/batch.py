"""A batch: everything that takes effect in one commit, from the results of messages or from a source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from aggregator.runtime.contract import Cursor, Drop, Lease, Outcome, Remember, Send, Settled
from aggregator.runtime.message import History, Message, encode_body, write_history

LONGEST_DELAY_S = 100 * 365 * 86400.0


class Position(msgspec.Struct, gc=False):
    """The change of one cursor."""

    name: str
    expected: str | None
    """The value that must be stored now; None accepts any value."""
    value: str | None
    """The new value; None deletes the cursor."""
    lease: Lease | None = None


class Change(NamedTuple):
    """The change of the text that is remembered under one name."""

    expected: str | None
    """The text that was read, empty when there was none; None when it was not read, so that any text may be there."""
    text: str
    """The new text; an empty text deletes it."""
    ttl_s: float | None


class Batch:
    """Collect outcomes until they are committed in one step."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        """The entries that leave `held`."""
        self.counts: dict[str, int] = {}
        self.sends: dict[str, list[bytes]] = {}
        self.delayed: dict[str, list[tuple[float, bytes]]] = {}
        self.timers: dict[str, dict[str, tuple[float, bytes]]] = {}
        """By queue and key; an empty body cancels the timer."""
        self.cursors: list[Position] = []
        self.changes: dict[str, Change] = {}
        """The changes of remembered texts, by name."""
        self.retries: list[tuple[float, bytes, bytes]] = []
        self.dead: list[tuple[bytes, bytes]] = []
        self.back: list[tuple[bytes, bytes]] = []
        """Messages that go back untried: (new header, body), or (nothing, the whole entry)."""
        self.sent = 0
        self._copies: dict[str, int] = {}

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of the books."""
        self.counts[name] = self.counts.get(name, 0) + by

    def send(self, outcome: Send) -> None:
        """Add one result. Raises TypeError or ValueError, having added nothing, when it cannot be sent."""
        self._send(outcome, _body(outcome))

    def _send(self, outcome: Send, body: bytes) -> None:
        if outcome.key:
            self.timers.setdefault(outcome.queue, {})[outcome.key] = outcome.delay_s, body
            return
        if outcome.delay_s > 0:
            self.delayed.setdefault(outcome.queue, []).append((outcome.delay_s, body))
        else:
            queue = self.sends.get(outcome.queue)
            if queue is None:
                queue = self.sends[outcome.queue] = []
            queue.append(body)
        self.sent += 1

    def settled(self, outcomes: Iterable[Settled]) -> list[Remember]:
        """Add outcomes that belong to no single message. Returns their `Remember` outcomes, as `handled` does.

        Raises TypeError or ValueError.
        """
        remembered = []
        for outcome in outcomes:
            if type(outcome) is Send:
                self.send(outcome)
            elif type(outcome) is Cursor:
                self.cursors.append(Position(outcome.name, None, outcome.value))
            elif type(outcome) is Remember:
                remembered.append(_checked(outcome))
            else:
                raise TypeError(f"Send, Cursor or Remember may be yielded here, not {type(outcome).__name__}")
        return remembered

    def handled(self, message: Message, outcomes: Iterable[Outcome]) -> list[Remember]:
        """Add the outcomes of a handled message. Returns its `Remember` outcomes, for `changes`.

        Raises TypeError or ValueError, having added none of them, when one of them is no outcome or cannot be sent.
        """
        dropped, sends, remembered = "", [], []
        for outcome in outcomes:
            if type(outcome) is Send:
                sends.append((outcome, _body(outcome)))
            elif type(outcome) is Drop:
                dropped = outcome.reason
            elif type(outcome) is Remember:
                remembered.append(_checked(outcome))
            else:
                raise TypeError(f"a stage yields Send, Drop or Remember, not {type(outcome).__name__}")
        for send, body in sends:
            self._send(send, body)
            if body is message.raw is message.entry and not send.delay_s:
                self._copy(send.queue)
        self.entries.append(message.entry)
        if dropped:
            self.count(f"dropped:{dropped}")
        return remembered

    def _copy(self, queue: str) -> None:
        """Count a message that goes on to a queue unchanged, as long as all messages before it did."""
        if self._copies.get(queue, 0) == len(self.entries):
            self._copies[queue] = len(self.entries) + 1

    def is_copy(self, queue: str) -> bool:
        """True when a queue gets exactly the messages that leave, byte for byte: Redis has their text already."""
        return 0 < self._copies.get(queue, 0) == len(self.entries) == len(self.sends[queue])

    def retry(self, message: Message, history: History, delay_s: float) -> None:
        """Have a message tried again later."""
        self.entries.append(message.entry)
        self.retries.append((delay_s, write_history(history), message.raw))
        self.count("retried")

    def set_aside(self, message: Message, history: History) -> None:
        """Move a message to the dead letters."""
        self.entries.append(message.entry)
        self.dead.append((write_history(history), message.raw))
        self.count("died")

    def put_back(self, message: Message, kept: str = "") -> None:
        """Return a message untried; `kept` is a text that the stage wants to find at the next try."""
        self.entries.append(message.entry)
        if kept in ("", message.kept):
            self.back.append((b"", message.entry))
        else:
            history = msgspec.structs.replace(message.history or History(), kept=kept)
            self.back.append((write_history(history), message.raw))

    def close(self) -> None:
        """Count as `out` the messages that were handled and not dropped. A source counts its messages itself."""
        if not self.entries:
            return
        dropped = sum(n for name, n in self.counts.items() if name.startswith("dropped:"))
        if self.done - dropped:
            self.count("out", self.done - dropped)

    @property
    def done(self) -> int:
        """The number of messages that were handled: they neither failed nor went back."""
        return len(self.entries) - len(self.retries) - len(self.dead) - len(self.back)

    def __bool__(self) -> bool:
        """True when there is anything to commit."""
        return bool(
            self.entries or self.sends or self.delayed or self.timers or self.cursors or self.changes or self.counts
        )


def _checked(outcome: Remember) -> Remember:
    """Return the outcome. Raises TypeError for a name or value that is no text, ValueError for a bad `ttl_s`."""
    if not isinstance(outcome.name, str) or not isinstance(outcome.value, str | None):
        raise TypeError("only texts are remembered, under texts")
    if outcome.ttl_s is not None and not 0 < outcome.ttl_s < LONGEST_DELAY_S:
        raise ValueError(f"nothing can be remembered for {outcome.ttl_s} s")
    return outcome


def _body(outcome: Send) -> bytes:
    """Return the bytes to push. Raises TypeError or ValueError for a body that is no JSON, or a bad delay."""
    if outcome.delay_s and not 0 < outcome.delay_s < LONGEST_DELAY_S:
        raise ValueError(f"a message cannot be sent {outcome.delay_s} s later")
    if outcome.body is None:
        if not outcome.key:
            raise ValueError("a message without a body cancels the timer of its key, and this one has no key")
        return b""
    return outcome.body if type(outcome.body) is bytes else encode_body(outcome.body)  # type: ignore[arg-type]
