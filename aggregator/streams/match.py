"""The stage `match`: say in each event which rules it was collected for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from configparser import RawConfigParser
from contextlib import suppress
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec

from aggregator.config.settings import Bounds, Doc, Duration, Integer, Number, TargetQueue
from aggregator.config.traits import Traits
from aggregator.errors import Reject, Unavailable
from aggregator.runtime.connection import AWAY, REFUSED
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Drop, Emits, Outcome, Send, Settled, Stage
from aggregator.runtime.kinds import decode, encode
from aggregator.runtime.message import Message
from aggregator.streams.messages import Connection, Event, Gap
from aggregator.streams.rules.annotation import annotate
from aggregator.streams.rules.matching import Matcher
from aggregator.streams.rules.names import RuleSetName
from aggregator.streams.rules.rates import Moment, Rates, bucket_names
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.stored import Stored
from aggregator.streams.rules.tweets import Tweet, read_tweet
from aggregator.streams.rules.watcher import RuleSet
from aggregator.streams.rules.windows import Matches

_SHOWN = 3
"""How many faulty rules are named in one report."""


class _Found(NamedTuple):
    """A tweet that a message has, and the rules that it matches."""

    message: Event
    tweet: Tweet
    rules: list[Rule]


class Match(Stage):
    """Put the rules that each tweet matches into the tweet, under `traptor.collection_rules`.

    In: of kinds `event`, `gap` and `connection`, from a capture. An event with `id_str` is a tweet.
    Out: the same on `pushto`. A tweet has one more member at its end, `traptor`: `id_str`, `created_at_iso`,
    `collection_rules` (the matching rules with all their fields, and `rule_tag` and `rule_value`); without a match also
    `rule_type`, `id`, and `rule_tag` and `rule_value`, which are `Not Found`. All of its other bytes stay as they are.
    Gaps, connections, control messages and events of other platforms pass unchanged.
    Effect: none outside Redis; exactly once. With `ratelimit` a tweet is dropped (reason `rate_limited`) when every
    value that it matches is over its rate; what is left of the rates is shared by all processes. With `stats_window`
    matches are counted in the rules' Redis; what a killed process did again may be counted twice.
    Errors: while there are no rules, or their Redis is away, messages wait in the queue. An event that is no JSON is
    set aside. A rule that cannot be used is reported.
    Source: Traptor 4.0.15; docs/streams.md.
    """

    traits = Traits(sections=("rules",))
    accepts = (Event, Gap, Connection)
    emits: ClassVar[Emits] = {"pushto": (Event, Gap, Connection)}

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        pushto: Annotated[TargetQueue, Doc("the queue that the events go to")]
        rules: Annotated[RuleSetName, Doc("the rules to look for, as they lie in the Redis of [rules]")]
        rule_check: Annotated[
            Duration, Doc("how often to read the rules again, should a notice of a change be lost"), Bounds(1)
        ] = 10.0
        stats_window: Annotated[
            Duration,
            Doc("count the matches of each rule over this time, in stats:TYPE:ID:RULE_ID; 0 = do not"),
            Bounds(0),
        ] = 0.0
        ratelimit: Annotated[
            Number, Doc("tokens that each value of a rule gets a second, over all processes; 0 = no limit"), Bounds(0)
        ] = 0.0
        ratelimit_capacity: Annotated[Integer, Doc("tokens that a value can save up"), Bounds(1)] = 10
        ratelimit_cost: Annotated[Integer, Doc("tokens that an event takes"), Bounds(1)] = 1

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._rules = RuleSet(context.rules, settings.rules, self._read, settings.rule_check)
        self._matcher = Matcher(settings.rules.type, ())
        self._rates = Rates(settings.ratelimit, settings.ratelimit_capacity, settings.ratelimit_cost)
        self._matches = Matches(settings.rules, settings.stats_window)
        self._found: dict[bytes, _Found | None] = {}

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse rules that only X can match."""
        if settings.rules.type == "x":
            words = "X matches rules of type x itself, and says in matching_rules of each event which they are"
            yield "rules", f"{words} (found {settings.rules}); allowed here: track, follow and locations"

    def needs(self, message: Message) -> Iterable[str]:
        """Name the buckets of the values that an event matches; `handle` goes on with what was found here."""
        if not self.settings.ratelimit:
            return ()
        self._found.pop(message.raw, None)
        found = self._found[message.raw] = self._find(message)
        return bucket_names(found.rules) if found else ()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Send a message on, with the rules that it matches."""
        found = self._find(message) if not self.settings.ratelimit else self._found_before(message)
        if found is None:
            yield Send(self.settings.pushto, message.raw)
            return
        if self.settings.ratelimit and found.rules:
            moment = Moment(found.message.received_ms / 1000, self.context.clock())
            passes, remembered = self._rates.take(found.rules, moment, self.context.recall)
            if not passes:
                yield Drop("rate_limited")
                return
            yield from remembered
        if self.settings.stats_window:
            self._matches.count(rule.id for rule in found.rules)
        content = annotate(found.message.content, found.tweet, self.settings.rules, found.rules)
        changed = {"text": content.decode()} if found.message.text else {"event": msgspec.Raw(content)}
        yield Send(self.settings.pushto, encode(msgspec.structs.replace(found.message, **changed)))

    def committed(self) -> None:
        """Forget what was found in the messages that are done, and count their matches.

        Counts of a moment in which the rules' Redis is away are missing, as they must hold up no event.
        """
        self._found.clear()
        if self.settings.stats_window:
            with suppress(*AWAY, *REFUSED):
                self._matches.write(self._rules.client(), self.context.clock())

    def idle(self, now: float) -> Iterator[Settled]:
        """Look after the rules while no event comes, so that `health` tells what is wrong with them."""
        self._current()
        return iter(())

    def stop(self) -> None:
        """Close the connections to the rules' Redis."""
        self._rules.close()

    def _found_before(self, message: Message) -> _Found | None:
        """Return what `needs` found: rules may have changed since, and only buckets that it named can be recalled."""
        if message.raw not in self._found:
            self._find(message)  # raises what `needs` met with
            raise Unavailable("the rules came back a moment ago", 0.1)
        return self._found[message.raw]

    def _find(self, message: Message) -> _Found | None:
        """Return what a message matches; None for what passes unchanged."""
        told = decode(message.raw, *self.accepts)
        tweet = _tweet_in(told) if isinstance(told, Event) else None
        if tweet is None or not isinstance(told, Event):
            return None
        self._current()
        return _Found(told, tweet, self._matcher.matches(tweet))

    def _current(self) -> None:
        """Have the rules as they are now. Raises Unavailable when there are none, or when they cannot be read."""
        try:
            self._rules.rules()
        except Unavailable as error:
            advice = f"add rules to {self.settings.rules}, or see whether the url in [rules] is right; events wait"
            self.context.report("rules_away", str(error), advice)
            raise
        self.context.withdraw("rules_away")

    def _read(self, stored: Stored) -> None:
        """Take over rules that were read."""
        self._matcher = Matcher(self.settings.rules.type, stored.rules)
        self.context.note("rules", f"{len(stored.rules)} of {self.settings.rules}")
        self.context.log.info("rules set=%s count=%d", self.settings.rules, len(stored.rules))
        if stored.faults:
            text = f"{len(stored.faults)} rules cannot be used: {'; '.join(stored.faults[:_SHOWN])}"
            self.context.report("rules_faulty", text, "correct or remove them; the other rules are used")
        else:
            self.context.withdraw("rules_faulty")


def _tweet_in(event: Event) -> Tweet | None:
    """Return the tweet in an event; None when there is none. Raises Reject for an `event` that is no JSON."""
    if not event.text:
        return read_tweet(bytes(event.event))
    with suppress(Reject):
        return read_tweet(event.content)
    return None
