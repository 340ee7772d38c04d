"""Stages for tests: each does one thing that a worker must cope with. Also a program that runs one of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import simplejson

from aggregator.config.settings import Bounds, Doc, Integer, TargetQueue
from aggregator.config.traits import Traits
from aggregator.errors import EXIT_AWAY, EXIT_CONFIG, ConfigError, Reject, Retry, Unavailable
from aggregator.runtime import heartbeat
from aggregator.runtime.context import Context
from aggregator.runtime.contract import (
    ConsumerSettings,
    Cursor,
    Drop,
    Failed,
    Flush,
    Lease,
    Outcome,
    Remember,
    Send,
    Settled,
    Source,
    SourceOutcome,
    SourceSettings,
    Stage,
)
from aggregator.runtime.inflow import Inflow
from aggregator.runtime.loop import RedisAway
from aggregator.runtime.message import History, Message
from aggregator.runtime.process import log_to_stdout, make_worker
from tests.servers import wait_until

LONGEST_S = 60.0
"""How long a stage waits for the test."""


def hold(root: Path, message: Message) -> None:
    """Say that a message is in hand, and keep it there until the test says `go`."""
    (root / f"begun_{message.body['n']}").touch()
    wait_until((root / "go").exists, LONGEST_S)


class Obedient(Stage):
    """Do what the message says."""

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where messages go on")]

    def handle(self, message: Message) -> Iterator[Outcome]:
        order = message.body.get("do", "send")
        if order == "die":
            os._exit(3)
        if order == "exit":
            sys.exit()
        if order == "raise":
            raise KeyError("nothing under this name")
        if order == "reject":
            raise Reject("not wanted")
        if order == "retry":
            raise Retry("come back", message.body.get("delay_s", 0.05))
        if order == "wait-for-file" and not Path(message.body["file"]).exists():
            raise Unavailable("the file is not there", 0.2)
        if order == "keep" and message.kept != "kept":
            if message.body["pause"]:
                raise Unavailable("away for once", 0.05, kept="kept")
            raise Retry("once more", 0, kept="kept")
        if order == "slow":
            time.sleep(message.body["seconds"])
        if order == "hold":
            hold(self.context.root, message)
        if order == "drop":
            yield Drop("told_to")
        elif order == "nonsense":
            yield "no outcome"  # type: ignore[misc]
        elif order == "half":
            yield Send(self.settings.pushto, {"good": 1})
            yield Send(self.settings.pushto, {"bad": object()})
        elif order == "never":
            yield Send(self.settings.pushto, message.raw, delay_s=float("nan"))
        elif order == "count":
            for number in range(message.body["times"]):
                self.context.count(f"counted_{number % 500}")
            yield Send(self.settings.pushto, message.raw)
        elif order == "count-half":
            self.context.count("things", 0.5)  # type: ignore[arg-type]
        elif order == "report":
            body = message.body
            for number in range(body.get("times", 1)):
                self.context.report(
                    body["code"], body.get("text", "so it is"), "Mend it.", about=body.get("about", "") + str(number),
                    lasting=body.get("lasting", False),
                )  # fmt: skip
            yield Send(self.settings.pushto, message.raw)
        elif order == "withdraw":
            self.context.withdraw(message.body["code"], message.body["about"])
            yield Send(self.settings.pushto, message.raw)
        elif order == "note":
            self.context.note("file", "caf\udce9.log")
            yield Send(self.settings.pushto, message.raw)
        else:
            yield Send(self.settings.pushto, message.raw)


class ObedientThreads(Obedient):
    """The same, several at once."""

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where messages go on")]
        concurrency: Annotated[Integer, Doc("how many at once"), Bounds(1)] = 4


class Seeder(Obedient):
    """Begin with one message of its own, whoever of the section's processes comes first."""

    def seed(self) -> Iterator[Send | Cursor]:
        if "seeded" not in self.context.cursors:
            yield Send("in", {"seed": 1})
            yield Cursor("seeded", "yes")


class Sink(Stage):
    """Append to a file, its length in the same commit; the smallest exactly-once sink."""

    traits = Traits(exclusive=True)

    def start(self) -> None:
        self.path = self.context.root / "sink"
        self.buffer: list[bytes] = []
        with open(self.path, "ab") as file:
            file.truncate(int(self.context.cursors.get("sink", "0")))

    def handle(self, message: Message) -> Iterator[Outcome]:
        self.buffer.append(message.raw + b"\n")
        return iter(())

    def settle(self, now: float) -> Iterator[Settled]:
        with open(self.path, "ab") as file:
            file.write(b"".join(self.buffer))
        self.buffer = []
        yield Cursor("sink", str(self.path.stat().st_size))


class Tally(Obedient):
    """Count the messages of each name, by what is remembered of it."""

    def needs(self, message: Message) -> Iterable[str]:
        return [message.text("name")]

    def handle(self, message: Message) -> Iterator[Outcome]:
        if message.body.get("do") == "hold":
            hold(self.context.root, message)
        name = message.text("name")
        count = int(self.context.recall(name) or 0) + 1
        yield Remember(name, str(count), message.body.get("ttl_s"))
        yield Send(self.settings.pushto, {"name": name, "count": count})

    def died(self, message: Message, history: History) -> Iterator[Send | Remember]:
        if history.error == "not wanted":
            raise LookupError("nobody waits for it")
        yield Send("obituaries", {"error": history.error, "deliveries": history.deliveries})


class TallyThreads(Tally):
    """The same, several at once, which cannot be."""

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where messages go on")]
        concurrency: Annotated[Integer, Doc("how many at once"), Bounds(1)] = 4


class Forgetful(Tally):
    """Recall something that it did not name."""

    def needs(self, message: Message) -> Iterable[str]:
        return ()


class Careless(Tally):
    """Remember something that it did not name."""

    def handle(self, message: Message) -> Iterator[Outcome]:
        yield Send(self.settings.pushto, message.raw)
        yield Remember("other", "1")


class TallySink(Tally, Sink):
    """Count, and write each message to a file as well."""

    traits = Traits()

    def handle(self, message: Message) -> Iterator[Outcome]:
        yield from super().handle(message)
        yield from Sink.handle(self, message)


class HalfPorted(Obedient):
    """Return positions as a mapping, as stages did before they yielded outcomes."""

    def settle(self, now: float) -> Iterator[Settled]:
        positions: Any = {"sink": "1"}
        return positions  # type: ignore[no-any-return]


class Lethal(Tally):
    """Need something that cannot be, or end the process while saying what it needs."""

    def needs(self, message: Message) -> Iterable[str]:
        if message.body.get("do") == "die":
            os._exit(3)
        return [message.body["name"]]

    def handle(self, message: Message) -> Iterator[Outcome]:
        yield Send(self.settings.pushto, message.raw)


class Clumsy(Obedient):
    """Fail after each commit as long as the file `fail` says how, and say so in `tried`."""

    def committed(self) -> None:
        _fail_as_told(self.context.root)


class Mortal(Tally):
    """Do what the message says, and tell of those that die."""

    def needs(self, message: Message) -> Iterable[str]:
        return ()

    def handle(self, message: Message) -> Iterator[Outcome]:
        return Obedient.handle(self, message)


class Tidy(Obedient):
    """Send one message more in each commit; once it has taken effect, say so and wait for the file `end`."""

    def settle(self, now: float) -> Iterator[Settled]:
        yield Send("settled", {"at": now})

    def committed(self) -> None:
        (self.context.root / "committed").touch()
        wait_until((self.context.root / "end").exists, LONGEST_S)


class Doubtful(Obedient):
    """Learn only in `settle` that messages of the orders `doubt` and `refuse` failed."""

    def start(self) -> None:
        self.doubted: list[Message] = []

    def handle(self, message: Message) -> Iterator[Outcome]:
        if message.body.get("do") in ("doubt", "refuse"):
            self.doubted.append(message)
        else:
            yield from super().handle(message)

    def settle(self, now: float) -> Iterator[Settled]:
        for message in self.doubted:
            error = Reject("refused later") if message.body["do"] == "refuse" else Retry("doubted", 0.05)
            yield Failed(message, error)
        self.doubted = []


class Reminder(Obedient):
    """Set a timer of its own for each message, under its name."""

    def handle(self, message: Message) -> Iterator[Outcome]:
        if "rings" in message.body:
            yield Send(self.settings.pushto, message.raw)
        elif message.body.get("delay_s") is None:
            yield Send("in", None, key=message.text("name"))
        else:
            body = {"rings": message.text("name"), "n": message.body.get("n", 0)}
            yield Send("in", body, message.body["delay_s"], message.text("name"))


class Tenant(Source):
    """Send the next number of each lease that it has, one a poll; the numbers belong to the leases.

    It cannot leave a lease that is lost while the file `fail` says so.
    """

    class Settings(SourceSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where numbers go")]
        names: Annotated[str, Doc("the wanted leases")] = "a"
        ttl_s: Annotated[float, Doc("how long one lasts")] = 1.0

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        leases = self.context.leases
        for lease in leases.take("pool", self.settings.names.split(","), self.settings.ttl_s):
            self.numbers[lease] = int(leases.cursors(lease).get("next", "0"))
            self.context.log.info("took name=%s next=%d", lease.name, self.numbers[lease])
        for lease, number in list(self.numbers.items()):
            (self.context.root / f"polled_{self.context.number}").touch()
            if (self.context.root / f"stop_{self.context.number}").exists():
                os.kill(os.getpid(), signal.SIGSTOP)
            yield Send(self.settings.pushto, {"lease": lease.name, "n": number, "by": self.context.number})
            self.numbers[lease] = number + 1
            yield Cursor("next", str(number + 1), lease)
            yield Flush()

    def start(self) -> None:
        self.numbers: dict[Lease, int] = {}

    def lost(self, lease: Lease) -> None:
        _fail_as_told(self.context.root)
        self.context.log.info("lost name=%s", lease.name)
        del self.numbers[lease]


class Reader(Source):
    """Send what a thread reads: the lines that are appended to the file `lines`."""

    class Settings(SourceSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where lines go")]

    def start(self) -> None:
        self.inflow: Inflow[bytes] = Inflow(self._read, self.context, most=10)
        self.inflow.start()

    def _read(self, inflow: Inflow[bytes]) -> None:
        with open(self.context.root / "lines", "rb") as file:
            while not inflow.stopping.wait(0.01):
                for line in file:
                    inflow.put(line.strip(), len(line))

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        while True:
            for line in self.inflow.take(self.settings.batch, 60.0):
                yield Send(self.settings.pushto, line)
            yield Flush()
            if self.context.stopping:
                return

    def stop(self) -> None:
        self.inflow.stop()


def _fail_as_told(root: Path) -> None:
    if (root / "fail").exists():
        with open(root / "tried", "a") as tried:
            tried.write("x")
        if (root / "fail").read_text() == "unavailable":
            raise Unavailable("the folder is away", 0.2)
        raise OSError("no such folder")


class ClumsySource(Source):
    """Send one number a poll, and fail after the commit as the file `fail` says."""

    class Settings(SourceSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where numbers go")]

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        number = int(self.context.cursors.get("next", "0")) if not hasattr(self, "next") else self.next
        if number < 20:
            yield Send(self.settings.pushto, {"n": number})
            self.next = number + 1
            yield Cursor("next", str(self.next))
            yield Flush()

    def committed(self) -> None:
        _fail_as_told(self.context.root)


class LateSeeder(Seeder):
    """Seed once the file `go` is there."""

    def seed(self) -> Iterator[Send | Cursor]:
        if not (self.context.root / "go").exists():
            raise Unavailable("the file is not there", 0.1)
        yield from super().seed()


class Slow(Source):
    """Send a number every tenth of a second, each with a cursor, in one poll that ends only with the process."""

    class Settings(SourceSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where numbers go")]

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        number = int(self.context.cursors.get("next", "0"))
        while True:
            yield Send(self.settings.pushto, {"n": number})
            number += 1
            yield Cursor("next", str(number))
            time.sleep(0.1)


class Counter(Source):
    """Send the numbers up to what the file `limit` says."""

    class Settings(SourceSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where numbers go")]

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        if not hasattr(self, "next"):
            self.next = int(self.context.cursors.get("next", "0"))
        limit = int((self.context.root / "limit").read_text())
        while self.next < limit:
            yield Send(self.settings.pushto, {"n": self.next})
            self.next += 1
            if self.next % 10 == 0 or self.next == limit:
                yield Cursor("next", str(self.next))


class Closing(Counter):
    """Leave the file `stopped` when the worker stops the source."""

    def stop(self) -> None:
        (self.context.root / "stopped").touch()


class Hesitant(Counter):
    """Bring nothing until the file `limit` is there; let every third number go."""

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        if not hasattr(self, "next"):
            self.next = int(self.context.cursors.get("next", "0"))
        while self.next < 30:
            number = self.next
            yield Drop("third") if number % 3 == 0 else Send(self.settings.pushto, {"n": number})
            if number == 20 and not (self.context.root / "limit").exists():
                raise Unavailable("the file is not there", 0.1)
            self.next = number + 1
            yield Cursor("next", str(self.next))


def main(arguments: list[str]) -> int:
    """Run a worker: the one argument is JSON with stage, number, url, namespace, root and settings."""
    told = simplejson.loads(arguments[0])
    heartbeat.Watch = partial(heartbeat.Watch, told["lease_s"])  # type: ignore[assignment, misc]
    log_to_stdout()
    stage = globals()[told["stage"]]
    context = Context(section="stage", number=told["number"], node=told["node"], root=Path(told["root"]))
    settings = stage.Settings(**told["settings"])
    limits = {"out": told["limit"]} if "limit" in told else {}
    where = {"url": told["url"], "namespace": told["namespace"], "limits": limits}
    try:
        return make_worker(stage, settings, context, **where, patience_s=told.get("patience_s", 600.0)).run()
    except ConfigError as error:
        print(error)
        return EXIT_CONFIG
    except RedisAway:
        return EXIT_AWAY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
