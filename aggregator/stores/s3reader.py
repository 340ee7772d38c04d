"""Read an S3 object to its end although connections break, and check that its content is the one that was written."""

from __future__ import annotations

import hashlib
from typing import Any

from aggregator.errors import Unavailable
from aggregator.stores.s3calls import FAILURES, Calls, meaning_of
from aggregator.stores.store import Conflict, Damaged, Info, ObjectReader

SHA256 = "sha256"
"""The name under which the content's SHA-256 is kept in the object's metadata."""


def info_of(key: str, response: dict[str, Any]) -> Info:
    """Return what the answer to a GET or HEAD says of an object."""
    sha256 = response.get("Metadata", {}).get(SHA256)
    return Info(key, int(response["ContentLength"]), response["LastModified"].timestamp(), response["ETag"], sha256)


class S3Reader(ObjectReader):
    """One state of an object, read from byte `start`. An interrupted answer is continued, bound to the same tag."""

    def __init__(self, calls: Calls, key: str, name: str, start: int, tag: str | None) -> None:
        self._calls = calls
        self._name = name
        self._position = start
        # a part cannot be compared with the hash of the whole
        self._digest = None if start else hashlib.sha256()
        self._body: Any = None
        # a range that begins at the end would be an error: the size must be known first
        response = calls.call("head_object", Key=name) if start else self._open(tag)
        self._info = info_of(key, response)
        if tag is not None and self._info.tag != tag:
            raise Conflict(f"s3://{calls.bucket}/{name} has changed")

    @property
    def info(self) -> Info:
        """Return the facts of this state."""
        return self._info

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; with fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._position < self._info.size:
            piece = self._read(min(len(view) - filled, self._info.size - self._position))
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._position += len(piece)
            if self._digest:
                self._digest.update(piece)
        if filled and self._position == self._info.size:
            self._compare()
        return filled

    def _read(self, size: int) -> bytes:
        """Return at least one byte from the current position, over several connections if the first ones break."""
        for attempt in range(1, self._calls.attempts + 1):
            try:
                if self._body is None:
                    self._open(self._info.tag)
                piece: bytes = self._body.read(size)
                if piece:
                    return piece
                fault = Unavailable(f"s3://{self._calls.bucket}/{self._name}: the answer ends early")
            except FAILURES as error:
                answer = meaning_of(error, f"s3://{self._calls.bucket}/{self._name}: read", conditional=True)
                if not answer.again:
                    raise answer.error from error
                fault = Unavailable(str(answer.error))
            self._let_go()
            if attempt < self._calls.attempts:
                self._calls.wait(attempt)
        raise fault

    def _open(self, tag: str | None) -> dict[str, Any]:
        arguments = {"IfMatch": tag} if tag is not None else {}
        if self._position:
            arguments["Range"] = f"bytes={self._position}-"
        response = self._calls.call("get_object", Key=self._name, **arguments)
        self._body = response["Body"]
        return response

    def _compare(self) -> None:
        if self._digest and self._info.sha256 and self._digest.hexdigest() != self._info.sha256:
            raise Damaged(f"s3://{self._calls.bucket}/{self._name}: what came is not what was written")

    def _let_go(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        """Close the answer; the connection is kept if all of it was read."""
        if not self.closed:
            self._let_go()
        super().close()
