"""What the configuration must know about a stage besides its options."""

from __future__ import annotations

from typing import NamedTuple


class Traits(NamedTuple):
    """What is special about a stage."""

    exclusive: bool = False
    """True when a second process of the section would only be in the way: numprocs must be 1."""
    tables: tuple[str, ...] = ()
    """The tables that the stage reads, by their kinds in `aggregator.registry.TABLES`, such as `feed`: a change in one
    of them restarts its workers."""
    sections: tuple[str, ...] = ()
    """The sections of the whole instance that the stage reads, such as `rules`: a change in one restarts its workers.
    Of [redis] and [aggregator] this is so for every stage."""
    writes: tuple[str, ...] = ()
    """The options that name a file that the stage appends to."""
    reads: tuple[str, ...] = ()
    """The options that name files that the stage follows: paths and globs."""
    names_files: bool = False
    """True when messages of the stage name files of this machine, so that no other machine may take these messages."""
    feeds_itself: bool = False
    """True when the stage sends the messages of its own queue, so that nobody else needs to feed it."""
    alone_from: int = 1
    """A message that lost this many workers is handed out alone. The number is more than 1 where messages are slow and
    rarely at fault, so that one kill does not make many of them wait for one another."""
    entries: tuple[tuple[str, str, str], ...] = ()
    """(table, option, key): of the table, the stage reads the entry that the option names; where there is a key, those
    that have under it what the option says. A change in one restarts its workers, and a change in another does not."""
