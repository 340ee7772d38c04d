"""The options that the section of a stream may have, from their declarations."""

from __future__ import annotations

from aggregator.config.parsing import options_of
from aggregator.config.sections import ProgramSettings
from aggregator.config.settings import Option
from aggregator.streams.settings import StreamSettings

PREFIX = "stream_"
"""The beginning of the name of a stream's section."""
_NOT_OF_A_STREAM = ("enabled", "numprocs")
"""What `activate` and `deactivate` say, and what can only be 1."""


def stream_options() -> tuple[Option, ...]:
    """Return the options of the stage, in the order of their declaration, those of every source last."""
    own = tuple(name for name in StreamSettings.__annotations__)
    options = options_of(StreamSettings)
    return (
        *(option for option in options if option.name in own),
        *(option for option in options if option.name not in own),
    )


def program_options() -> tuple[Option, ...]:
    """Return the options that a stream has as a supervised program."""
    return tuple(option for option in options_of(ProgramSettings) if option.name not in _NOT_OF_A_STREAM)


def known_options() -> tuple[str, ...]:
    """Return the names of all options that can be set or taken out."""
    return tuple(option.name for option in (*stream_options(), *program_options()))
