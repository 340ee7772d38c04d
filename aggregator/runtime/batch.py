"""What is to take effect together: the results of some messages, or what a source brought."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aggregator.runtime.contract import Drop, Outcome, Send
from aggregator.runtime.message import History, Message, encode_body, write_history

LONGEST_DELAY_S = 100 * 365 * 86400.0


class Batch:
    """Collect outcomes until they are committed in one step."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        """What leaves `held`."""
        self.counts: dict[str, int] = {}
        self.sends: dict[str, list[bytes]] = {}
        self.delayed: dict[str, list[tuple[float, bytes]]] = {}
        self.cursors: list[tuple[str, str | None, str | None]] = []
        """Name, value expected to be there (None: whatever), new value (None: forget it)."""
        self.retries: list[tuple[float, bytes, bytes]] = []
        self.dead: list[tuple[bytes, bytes]] = []
        self.back: list[tuple[bytes, bytes]] = []
        """A header that is new, or nothing, and the rest."""
        self.sent = 0
        self._copies: dict[str, int] = {}

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of the books."""
        self.counts[name] = self.counts.get(name, 0) + by

    def send(self, outcome: Send) -> None:
        """Take one result along. Raises TypeError or ValueError, having taken nothing, when it cannot be sent."""
        self._send(outcome, _body(outcome))

    def _send(self, outcome: Send, body: bytes) -> None:
        if outcome.delay_s > 0:
            self.delayed.setdefault(outcome.queue, []).append((outcome.delay_s, body))
        else:
            queue = self.sends.get(outcome.queue)
            if queue is None:
                queue = self.sends[outcome.queue] = []
            queue.append(body)
        self.sent += 1

    def handled(self, message: Message, outcomes: Iterable[Outcome]) -> None:
        """Take the outcomes of a handled message.

        Raises TypeError or ValueError, having taken none of them, when one of them is no outcome or cannot be sent.
        """
        dropped, sends = "", []
        for outcome in outcomes:
            if type(outcome) is Send:
                sends.append((outcome, _body(outcome)))
            elif type(outcome) is Drop:
                dropped = outcome.reason
            else:
                raise TypeError(f"a stage yields Send or Drop, not {type(outcome).__name__}")
        for send, body in sends:
            self._send(send, body)
            if body is message.raw is message.entry and not send.delay_s:
                self._copy(send.queue)
        self.entries.append(message.entry)
        if dropped:
            self.count(f"dropped:{dropped}")

    def _copy(self, queue: str) -> None:
        """Note that the message in hand goes on unchanged, if all before it did."""
        if self._copies.get(queue, 0) == len(self.entries):
            self._copies[queue] = len(self.entries) + 1

    def is_copy(self, queue: str) -> bool:
        """True when a queue gets exactly the messages that leave, byte for byte: Redis has them already."""
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
        """Return a message untried; `kept` is what the stage wants to find again."""
        self.entries.append(message.entry)
        if kept in ("", message.kept):
            self.back.append((b"", message.entry))
        else:
            history = msgspec.structs.replace(message.history or History(), kept=kept)
            self.back.append((write_history(history), message.raw))

    def close(self) -> None:
        """Count what was done: whatever left `held` and went nowhere else by itself. A source counts for itself."""
        if not self.entries:
            return
        dropped = sum(n for name, n in self.counts.items() if name.startswith("dropped:"))
        if self.done - dropped:
            self.count("out", self.done - dropped)

    @property
    def done(self) -> int:
        """How many messages were handled: neither failed nor went back."""
        return len(self.entries) - len(self.retries) - len(self.dead) - len(self.back)

    def __bool__(self) -> bool:
        """True when there is anything to commit."""
        return bool(self.entries or self.sends or self.delayed or self.cursors or self.counts)


def _body(outcome: Send) -> bytes:
    """Return what is to be pushed. Raises TypeError or ValueError when it is no JSON, or its delay no time."""
    if outcome.delay_s and not 0 < outcome.delay_s < LONGEST_DELAY_S:
        raise ValueError(f"a message cannot be sent {outcome.delay_s} s later")
    return outcome.body if type(outcome.body) is bytes else encode_body(outcome.body)  # type: ignore[arg-type]
