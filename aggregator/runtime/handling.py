"""Turn claimed messages into a batch: call the stage, and decide what an exception means for its message."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterable

from aggregator.errors import Reject, Retry, Unavailable
from aggregator.runtime.batch import Batch, checked_text
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Outcome, Stage
from aggregator.runtime.deadletters import set_aside
from aggregator.runtime.memory import Memory
from aggregator.runtime.message import History, Message, ascii_text


class _Vanished(Reject):
    """The workers of this message vanished too often."""


class Handler:
    """Handle single messages of one stage, and put their outcomes into the batch given."""

    def __init__(self, stage: Stage, context: Context, worker: str, memory: Memory) -> None:
        self.stage = stage
        self.settings: ConsumerSettings = stage.settings
        self.context = context
        self.worker = worker
        self.memory = memory
        self.has_needs = type(stage).needs is not Stage.needs
        """True when texts must be fetched for this stage's messages."""

    def fetch(self, messages: Iterable[Message]) -> None:
        """Read the texts that the stage will recall for these messages, in one round trip."""
        self.memory.fetch(name for message in messages for name in self._needs(message))

    def _needs(self, message: Message) -> list[str]:
        if self._is_lethal(message):
            return []
        try:
            return [checked_text(name) for name in self.stage.needs(message)]
        except (Exception, SystemExit):  # noqa: BLE001 - `handle` raises it again, where it decides what becomes of the message
            return []

    def _is_lethal(self, message: Message) -> bool:
        """Return whether so many workers vanished with a message that it is not handled any more."""
        return message.history is not None and message.history.deliveries >= self.settings.maxdeliveries

    def run(self, message: Message) -> list[Outcome] | Exception:
        """Call the stage. Returns its outcomes, or what it raised; safe to call from a thread."""
        if message.history is not None and self._is_lethal(message):
            return _Vanished(f"its worker vanished {message.history.deliveries} times while holding it")
        try:
            return list(self.stage.handle(message) or ())
        except Exception as error:  # noqa: BLE001 - the only place for it: the error decides about this message alone
            return error
        except SystemExit as error:  # a plugin's sys.exit() is a fault of this message, and must not end the worker
            return RuntimeError(f"sys.exit({error.code!r}) was called").with_traceback(error.__traceback__)

    def settle(self, batch: Batch, message: Message, result: list[Outcome] | Exception) -> Unavailable | None:
        """Add the result of a message to the batch. Returns the error when the stage cannot go on for now."""
        if isinstance(result, list):
            try:
                remembered = batch.handled(message, result, self.memory.names)
                if remembered:
                    batch.changes |= self.memory.change(remembered)
                return None
            except (TypeError, ValueError, LookupError) as error:  # no outcome, no JSON, or a name that was not read
                result = error
        if isinstance(result, Unavailable):
            batch.put_back(message, result.kept)
            return result
        history = self._failed(message, result)
        attempts, counts = history.attempts, not isinstance(result, Retry) or result.counts
        if isinstance(result, Reject) or (counts and attempts >= self.settings.maxtries):
            history.worker, history.died = self.worker, self.context.clock()
            # with more deliveries than allowed, the message may have killed its last worker in `died`
            told = history.deliveries <= self.settings.maxdeliveries
            set_aside(batch, message, history, self.stage, self.memory, told=told)
        else:
            delay_s = self._delay(result, attempts)
            batch.retry(message, history, delay_s)
            self.context.log.warning("retry attempts=%d delay_s=%.1f error=%s", attempts, delay_s, history.error)
        return None

    def _failed(self, message: Message, error: Exception) -> History:
        before = message.history or History()
        known = isinstance(error, Reject | Retry)
        # a delivery whose worker vanished is no attempt
        tried = not isinstance(error, _Vanished) and (not isinstance(error, Retry) or error.counts)
        return History(
            id=before.id,
            attempts=before.attempts + tried,
            deliveries=before.deliveries if isinstance(error, _Vanished) else 0,
            first=before.first or self.context.clock(),
            error=ascii_text((str(error) if known else f"{type(error).__name__}: {error}")[-500:]),
            trace="" if known else ascii_text("".join(traceback.format_exception(error))[-4000:]),
            kept=error.kept if isinstance(error, Retry) and error.kept else before.kept,
        )

    def _delay(self, error: Exception, attempts: int) -> float:
        """Return the time that the other side named, or else exponential backoff with a fifth of jitter either way."""
        wished = error.delay_s if isinstance(error, Retry) else None
        if wished is not None and wished >= 0:  # false for NaN
            return min(wished, self.settings.retrymax)
        backoff = self.settings.retrydelay * 2.0 ** min(max(attempts - 1, 0), 30)
        return min(backoff * random.uniform(0.8, 1.2), self.settings.retrymax)
