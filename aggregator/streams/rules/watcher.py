"""Watch a rule set: read it, and read it again when a notice or the clock says so.

There is no thread. Whoever uses the rules asks for them with each event; that costs a look at the clock, and five times
a second a look at the subscription's socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from aggregator.config.redisurl import mask
from aggregator.config.sections import RulesSettings
from aggregator.errors import Unavailable
from aggregator.runtime.connection import AWAY, REFUSED
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.stored import Stored, open_rules, read_rules

LISTEN_S = 0.2
"""How long a notice may lie unread."""
AGAIN_S = 2.0
"""How long to wait before an unreachable Redis is asked again."""


class RuleSet:
    """The rules of one set as they are now. `changed` is called with each new reading, before the rules are returned.

    A notice on the channel that names this set has the set read again. The set is also read every `check_s` seconds,
    because a notice can be lost, and after each new subscription, because one may have been lost before it.
    """

    def __init__(
        self, settings: RulesSettings, name: SetName, changed: Callable[[Stored], None], check_s: float
    ) -> None:
        self.name = name
        self._settings = settings
        self._changed = changed
        self._check_s = check_s
        self._stored: Stored | None = None
        self._client: Any = None
        self._notices: Any = None
        self._listen_at = 0.0
        self._read_at = 0.0

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules. Raises Unavailable while there are none, or while their Redis cannot be reached.

        They are always those of one whole reading: after an error in the middle of one, none of it counts.
        """
        now = time.monotonic()
        if now >= self._listen_at:
            self._look(now)
        if self._stored is None:
            raise Unavailable(f"the Redis of the rules, {mask(self._settings.url)}, was away a moment ago", AGAIN_S)
        if not self._stored.rules:
            raise Unavailable(f"there are no rules in {self.name.prefix}*", AGAIN_S)
        return self._stored.rules

    def client(self) -> Any:
        """Return a client of the rules' Redis."""
        self._client = self._client or open_rules(self._settings)
        return self._client

    def close(self) -> None:
        """Close the connections."""
        notices, client = self._notices, self._client
        self._notices = self._client = None
        if notices is not None:
            notices.close()
        if client is not None:
            client.close()

    def _look(self, now: float) -> None:
        """Take notices, and read the rules if need be; a connection that broke is made anew once."""
        self._listen_at = now + LISTEN_S
        try:
            self._refresh(now)
        except (*AWAY, *REFUSED):
            self._forget_connections()
            try:
                self._refresh(now)
            except (*AWAY, *REFUSED) as error:
                # what was known may be out of date by now: an event that waits is better than one matched wrongly
                self._stored = None
                self._listen_at = now + AGAIN_S
                self._forget_connections()
                words = f"the Redis of the rules, {mask(self._settings.url)}, is away: {error}"
                raise Unavailable(words, AGAIN_S) from error

    def _refresh(self, now: float) -> None:
        is_new = self._subscribe()
        # order: listen for notices, then read, so that no change falls in between
        if self._was_named() or is_new or now >= self._read_at:
            stored = read_rules(self._client, self.name)
            self._read_at = now + (self._check_s if stored.rules else AGAIN_S)
            if stored != self._stored:
                self._changed(stored)
                self._stored = stored

    def _subscribe(self) -> bool:
        """Listen for notices. Returns True when nobody listened before."""
        if self._notices is not None:
            return False
        notices = self.client().pubsub(ignore_subscribe_messages=True)
        self._notices = notices
        notices.subscribe(self._settings.notify_channel)
        return True

    def _was_named(self) -> bool:
        """Take all notices that have come, and return whether one named this set; other texts mean nothing."""
        named, ours = False, str(self.name).encode()
        while True:
            # the answer to the subscription itself is None too, so the socket is asked as long as it has something
            notice = self._notices.get_message(timeout=0.0)
            if notice is None and not self._notices.connection.can_read(timeout=0):
                return named
            named = named or (notice is not None and notice["data"] == ours)

    def _forget_connections(self) -> None:
        try:
            self.close()
        except RedisError:
            self._notices = self._client = None
