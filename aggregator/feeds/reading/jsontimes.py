"""Read the publication time of a body in JSON: of GBFS, or the value at a JSON pointer."""

from __future__ import annotations

import msgspec

from aggregator.feeds.reading.fetched import Corrupt, Fetched, Reader, looks_like, moment_of
from aggregator.feeds.reading.jsonpointer import Step, plain_value


def read_gbfs(fetched: Fetched) -> int | float:
    """Return `last_updated`: seconds up to GBFS 2, RFC 3339 from GBFS 3 on."""
    return json_reader("/last_updated")(fetched)


def json_reader(pointer: str) -> Reader:
    """Return a reader of the value at a JSON pointer (RFC 6901): seconds, milliseconds or an ISO 8601 text."""
    steps = [Step(step.replace("~1", "/").replace("~0", "~")) for step in pointer.split("/")[1:]]

    def read(fetched: Fetched) -> int | float:
        value = decode_json(fetched.body)
        try:
            for step in steps:
                value = step.into(value)
            return moment_of(plain_value(value), pointer)
        except LookupError as error:
            raise Corrupt(f"JSON without {pointer}") from error
        except ValueError as error:
            raise Corrupt(f"{pointer}: {error}") from error

    return read


def decode_json(body: bytes) -> msgspec.Raw:
    """Check that a whole body is JSON, and return it undecoded. Raises Corrupt.

    The values are not decoded, as the objects of a small packed body could fill gigabytes.
    """
    try:
        return msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"no JSON: {error}{looks_like(body)}") from error
