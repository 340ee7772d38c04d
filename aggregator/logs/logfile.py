"""The stage `logfile`: each message becomes one line of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

import simplejson

from aggregator.config.settings import Doc, FileMode, FilePath, Template
from aggregator.config.traits import Traits
from aggregator.errors import Reject
from aggregator.files.appending import AppendedFile
from aggregator.files.names import real_name, text_of
from aggregator.files.takeback import generation_of
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Outcome, Settled, Stage
from aggregator.runtime.message import Message, encode_body


class LogFile(Stage):
    """Append each message to a file as one line, exactly once.

    In: any JSON object; with `format`, an object that has the fields named there.
    Out: none.
    Effect: one line in `logfile` for each message: its JSON unchanged, or `format` with line breaks in values written
    as `\\n`. The file is made durable before each commit; after a crash between the two it is cut back to its committed
    length.
    Errors: a missing field or a body that is no JSON object is set aside; a full disk or a file that another process
    writes to pauses the worker.
    Source: docs/logs.md.
    """

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        logfile: Annotated[FilePath, Doc("the file that the lines are appended to")]
        format: Annotated[Template, Doc("a line's text, such as {logline}; without it the message's JSON")] | None = (
            None
        )
        mode: Annotated[FileMode, Doc("the file's permissions when it is created")] = 0o640

    settings: Settings
    traits = Traits(exclusive=True, writes=("logfile",))

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        path = context.path(settings.logfile)
        self.file = AppendedFile(path, settings.mode, context)
        self._cursor = real_name(path, context.root)
        self._lines: list[bytes] = []
        self._parts = [(text, field) for text, field, _, _ in Formatter().parse(settings.format or "")]

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse format specifications in `format`, which would silently have no effect."""
        for _, field, spec, conversion in Formatter().parse(settings.format or ""):
            if spec or conversion:
                yield "format", f"only plain {{field}} is allowed (found {field} with a format of its own)"

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return the file's real path.

        A section of another name that writes this file goes on from the cursor of a section that is gone.
        """
        return (f"file:{text_of(os.path.realpath(root / settings.logfile))}",)

    def start(self) -> None:
        """Lock the file, and take back lines that were not committed."""
        self.file.acquire(self._committed())

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Keep the line until `settle`."""
        self._lines.append(self._line(message) + b"\n")
        return iter(())

    def settle(self, now: float) -> Iterator[Settled]:
        """Write the kept lines in one piece."""
        if self._lines:
            cursor = self.file.append(b"".join(self._lines))
            self._lines.clear()
            yield Cursor(self._cursor, cursor)

    def stop(self) -> None:
        """Release the file; everything written to it is committed."""
        self.file.finish()

    def _committed(self) -> str | None:
        """Return the file's cursor; earlier versions named the cursor by the path as spelt in the configuration."""
        cursors, root = self.context.cursors, self.context.root
        spelt = [text for name, text in cursors.items() if real_name(root / name, root) == self._cursor]
        return cursors.get(self._cursor) or max(spelt, key=generation_of, default=None)

    def _line(self, message: Message) -> bytes:
        body = message.body
        if not self._parts:
            # another program may have pushed JSON that spans several lines
            return encode_body(body) if b"\n" in message.raw or b"\r" in message.raw else message.raw
        texts = []
        for text, field in self._parts:
            texts.append(text)
            if field is not None:
                if field not in body:
                    raise Reject(f"the message has no field {field!r}, which format = {self.settings.format} needs")
                texts.append(_text_of(body[field]))
        return "".join(texts).encode(errors="backslashreplace")


def _text_of(value: Any) -> str:
    """Return a value on one line: text unchanged, anything else as its JSON."""
    text = value if isinstance(value, str) else simplejson.dumps(value, separators=(",", ":"))
    return text.replace("\n", "\\n").replace("\r", "\\r")
