"""A batch: everything that takes effect in one commit, from the results of messages or from a source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
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
        self.sends: defaultdict[str, list[bytes]] = defaultdict(list)
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
            self.sends[outcome.queue].append(body)
        self.sent += 1

    def settled(self, outcomes: Iterable[Settled], *kinds: type) -> list[Remember]:
        """Take along what does not come of a single message. Returns what it remembers, as `handled` does.

        `kinds` are the outcomes that may be among them; all when none is given. Raises TypeError or ValueError, having
        taken none, when one of them is something else, or cannot be sent.
        """
        sends, positions, remembered = [], [], []
        for outcome in outcomes:
            if kinds and type(outcome) not in kinds:
                raise TypeError(f"{_names(kinds)} may be yielded here, not {type(outcome).__name__}")
            if type(outcome) is Send:
                sends.append((outcome, _body(outcome)))
            elif type(outcome) is Cursor and outcome.lease is None:
                positions.append(Position(outcome.name, None, outcome.value))
            elif type(outcome) is Remember:
                remembered.append(_checked(outcome))
            else:
                raise TypeError(f"Send, Remember or Cursor without a lease may be yielded here, not {outcome!r:.100}")
        for send, body in sends:
            self._send(send, body)
        self.cursors += positions
        return remembered

    def handled(self, message: Message, outcomes: Iterable[Outcome], read: Container[str] = ()) -> list[Remember]:
        """Add the outcomes of a handled message. Returns its `Remember` outcomes, for `changes`.

        `read` are the names whose texts were read for the batch. Raises TypeError, ValueError or LookupError, having
        added none of them, when one of them is no outcome, cannot be sent, or remembers under another name.
        """
        dropped, sends, remembered = "", [], []
        for outcome in outcomes:
            if type(outcome) is Send:
                sends.append((outcome, _body(outcome)))
            elif type(outcome) is Drop:
                dropped = outcome.reason
            elif type(outcome) is Remember:
                if _checked(outcome).name not in read:
                    words = "Stage.needs names what a message's handling remembers"
                    raise LookupError(f"{outcome.name!r} was not fetched: {words}")
                remembered.append(outcome)
            else:
                raise TypeError(f"a stage yields Send, Drop or Remember, not {type(outcome).__name__}")
        for send, body in sends:
            if send.delay_s or send.key:
                self._send(send, body)
            else:  # the most frequent case, without a call
                self.sends[send.queue].append(body)
                self.sent += 1
        self.entries.append(message.entry)
        if dropped:
            self.count(f"dropped:{dropped}")
        return remembered

    def is_copy(self, queue: str) -> bool:
        """True when a queue gets exactly the messages that leave, byte for byte: Redis has their text already."""
        return self.sends[queue] == self.entries

    def take_back(self, message: Message) -> None:
        """Forget that a message was handled. Raises ValueError for one that was not."""
        if message.entry not in self.entries:
            raise ValueError(f"a message that failed was not handled before (found {message.raw[:60]!r})")
        self.entries.remove(message.entry)

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


def checked_text(text: object) -> str:
    """Return a name that Redis can keep. Raises TypeError or ValueError for anything else."""
    if not isinstance(text, str):
        raise TypeError(f"a name is a text (found {type(text).__name__})")
    if not text.isascii():
        text.encode()  # half a character cannot be
    return text


def _names(kinds: Iterable[type]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _checked(outcome: Remember) -> Remember:
    """Return what is to be remembered. Raises TypeError or ValueError when it is no text, or its end no time."""
    checked_text(outcome.name)
    if outcome.value is not None:
        checked_text(outcome.value)
    if outcome.ttl_s is not None and not 0 < outcome.ttl_s < LONGEST_DELAY_S:
        raise ValueError(f"nothing can be remembered for {outcome.ttl_s} s")
    return outcome


def _body(outcome: Send) -> bytes:
    """Return what is to be pushed. Raises TypeError or ValueError when it is no JSON, or its delay no time."""
    body = outcome.body
    if type(body) is bytes and body and not outcome.delay_s and not outcome.key:
        return body
    if outcome.key != "":
        checked_text(outcome.key)
    if outcome.delay_s and not 0 < outcome.delay_s < LONGEST_DELAY_S:
        raise ValueError(f"a message cannot be sent {outcome.delay_s} s later")
    if body is None:
        if not outcome.key:
            raise ValueError("a message without a body cancels the timer of its key, and this one has no key")
        return b""
    if body == b"":
        raise ValueError("a message has a body, be it {}; None cancels a timer")
    return body if type(body) is bytes else encode_body(body)  # type: ignore[arg-type]
