"""An S3 bucket, or a prefix in one, as an object store.

Conditions are `If-None-Match: *` and `If-Match` on PutObject, CompleteMultipartUpload and DeleteObject (AWS since 2024
and 2025, and many others; `probe` finds out). Every object carries as metadata its SHA-256 and the number of the write
that made it. The hash is compared when the object is read. The number tells a conflict with another writer from our own
write whose answer was lost.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

from aggregator.errors import AggregatorError, Reject, Retry
from aggregator.stores.probe import probe_store
from aggregator.stores.s3calls import Calls
from aggregator.stores.s3reader import SHA256, S3Reader, info_of
from aggregator.stores.store import (
    Capabilities,
    Conflict,
    Info,
    NotFound,
    ObjectReader,
    Source,
    check_key,
    check_prefix,
    fault_of_key,
    open_source,
)

WRITE = "write"
_CHUNK = 1024 * 1024
_PART_BYTES = 16 * 1024 * 1024
"""The size of a part; one part is in memory at a time."""
_MAX_PARTS = 10_000
MAX_WHOLE_BYTES = 5 * 1024**3
"""The most that S3 takes in one request."""
_LEFT_OVER_S = 24 * 3600.0

_Parts: TypeAlias = list[dict[str, Any]]

_log = logging.getLogger(__name__)


class S3Store:
    """Keep objects in a bucket, under a prefix."""

    def __init__(self, calls: Calls, prefix: str, multipart_from: int) -> None:
        self._calls = calls
        self._prefix = f"{prefix}/" if prefix else ""
        self._multipart_from = multipart_from
        self._multipart_conditional = multipart_from < MAX_WHOLE_BYTES

    def get(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and tag; for small objects. Raises NotFound."""
        with self.open_read(key) as reader:
            return b"".join(iter(lambda: reader.read(_CHUNK) or b"", b"")), reader.info.tag or ""

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> ObjectReader:
        """Open an object from byte `start`; past the object's end there is nothing to read.

        Raises NotFound, and Conflict when `tag` is given and the object has another tag by now.
        """
        return S3Reader(self._calls, key, self._name(key), start, tag)

    def head(self, key: str) -> Info | None:
        """Return the facts of an object; None when there is none (or no bucket: HEAD does not tell them apart)."""
        try:
            return info_of(key, self._calls.call("head_object", Key=self._name(key)))
        except NotFound:
            return None

    def list(self, prefix: str = "") -> Iterator[Info]:
        """Yield the objects whose keys begin with `prefix` (not only at a slash), in no order."""
        where: dict[str, Any] = {"Prefix": self._prefix + check_prefix(prefix)}
        while True:
            page = self._calls.call("list_objects_v2", **where)
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._prefix)
                # other programs may have stored objects under names that are no keys
                if not fault_of_key(key):
                    yield Info(key, found["Size"], found["LastModified"].timestamp(), found["ETag"])
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        """Store an object durably and return its tag.

        With `if_absent` the object is stored only when there is none, with `if_tag` only while it has this tag;
        otherwise Conflict is raised. Conflict may also be raised when nothing changed but another write was in
        progress. The source is read twice.
        """
        name = self._name(key)
        condition = _condition(if_absent, if_tag)
        with open_source(source) as stream:
            size = stream.seek(0, os.SEEK_END)
            parts = size > self._multipart_from and (self._multipart_conditional or not condition)
            sha256, md5 = _hashes(stream, with_md5=not parts)
            metadata = {SHA256: sha256, WRITE: uuid.uuid4().hex}
            try:
                if parts:
                    return self._put_parts(name, stream, size, metadata, condition)
                return self._put_whole(name, stream, size, md5, metadata, condition)
            except (Conflict, NotFound) as error:
                return self._own_tag(name, metadata[WRITE], error, bool(condition))

    def _put_whole(
        self, name: str, stream: BinaryIO, size: int, md5: str, metadata: dict[str, str], condition: dict[str, str]
    ) -> str:
        if size > MAX_WHOLE_BYTES:
            raise Reject(
                f"{name} has {size} bytes: S3 takes at most {MAX_WHOLE_BYTES} in one request, and this server is not "
                "trusted to refuse stale writes in parts (option multipart)"
            )
        response = self._calls.call("put_object", Key=name, Body=stream, ContentMD5=md5, Metadata=metadata, **condition)
        return str(response["ETag"])

    def _put_parts(
        self, name: str, stream: BinaryIO, size: int, metadata: dict[str, str], condition: dict[str, str]
    ) -> str:
        upload = self._calls.call("create_multipart_upload", Key=name, Metadata=metadata)["UploadId"]
        try:
            parts = self._send_parts(name, upload, stream, size, metadata[SHA256])
            response = self._calls.call(
                "complete_multipart_upload", Key=name, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            self._abort(name, upload)
            raise
        return str(response["ETag"])

    def _send_parts(self, name: str, upload: str, stream: BinaryIO, size: int, sha256: str) -> _Parts:
        part_bytes = max(_PART_BYTES, -(-size // _MAX_PARTS))
        digest = hashlib.sha256()
        parts: _Parts = []
        stream.seek(0)
        while body := stream.read(part_bytes):
            digest.update(body)
            number = len(parts) + 1
            response = self._calls.call(
                "upload_part", Key=name, UploadId=upload, PartNumber=number, Body=body, ContentMD5=_md5(body)
            )
            parts.append({"PartNumber": number, "ETag": response["ETag"]})
        if digest.hexdigest() != sha256:
            raise Retry(f"{name}: what is to be stored changed meanwhile")
        return parts

    def _abort(self, name: str, upload: str) -> None:
        """Let the server delete the parts of an upload that failed."""
        try:
            self._calls.call("abort_multipart_upload", Key=name, UploadId=upload)
        except NotFound:
            pass  # the upload was complete after all, or is deleted already
        except AggregatorError as error:
            # this must not hide the failure of the upload: clean() deletes the parts later
            _log.warning("store parts left name=%s error=%s", name, error)

    def _own_tag(self, name: str, write: str, error: Conflict | NotFound, conditional: bool) -> str:
        """Return the object's tag if the refused write made it: the write succeeded, and only its answer was lost.

        Otherwise raises Conflict for a conditional write, and Retry for any other.
        """
        try:
            response = self._calls.call("head_object", Key=name)
        except NotFound:
            response = {}
        if response.get("Metadata", {}).get(WRITE) == write:
            return str(response["ETag"])
        if conditional:
            raise Conflict(str(error)) from error
        raise Retry(str(error)) from error

    def delete(self, key: str, *, if_tag: str | None = None) -> None:
        """Remove an object; with `if_tag` only while it has this tag, otherwise raise Conflict.

        Without `if_tag` an object that is not there is no error.
        """
        name = self._name(key)
        if if_tag is None:
            self._calls.call("delete_object", Key=name)
            return
        # a server may not know conditional deletions: after this check it can be wrong only about the next moment
        info = self.head(key)
        if info is None or info.tag != if_tag:
            raise Conflict(f"s3://{self._calls.bucket}/{name} is not what was to be deleted")
        try:
            self._calls.call("delete_object", Key=name, IfMatch=if_tag)
        except NotFound as error:
            raise Conflict(str(error)) from error

    def probe(self) -> Capabilities:
        """Try what this server really does.

        When the server breaks its promises for writes in parts, later conditional writes avoid parts.
        """
        prefix = self._prefix.rstrip("/")
        whole = probe_store(S3Store(self._calls, prefix, MAX_WHOLE_BYTES))
        if not whole.conditional or not self._multipart_conditional:
            return whole
        split = probe_store(S3Store(self._calls, prefix, 0), "writes in parts")
        self._multipart_conditional = split.conditional
        return Capabilities(True, whole.conditional_delete, tuple(dict.fromkeys((*whole.notices, *split.notices))))

    def clean(self) -> None:
        """Let the server delete the parts that killed writers began to send more than a day ago."""
        where: dict[str, Any] = {"Prefix": self._prefix}
        while True:
            page = self._calls.call("list_multipart_uploads", **where)
            for upload in page.get("Uploads", ()):
                if time.time() - upload["Initiated"].timestamp() > _LEFT_OVER_S:
                    self._abort(upload["Key"], upload["UploadId"])
            if not page.get("IsTruncated"):
                return
            where |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def _name(self, key: str) -> str:
        """Return the name that an object has in the bucket. Raises Reject for a bad key."""
        return self._prefix + check_key(key)


def _condition(if_absent: bool, if_tag: str | None) -> dict[str, str]:
    if if_absent:
        return {"IfNoneMatch": "*"}
    return {} if if_tag is None else {"IfMatch": if_tag}


def _hashes(stream: BinaryIO, with_md5: bool) -> tuple[str, str]:
    """Return the content's SHA-256 in hex and, with `with_md5`, its MD5 in the form that S3 wants."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    stream.seek(0)
    while chunk := stream.read(_CHUNK):
        sha256.update(chunk)
        if with_md5:
            md5.update(chunk)
    return sha256.hexdigest(), base64.b64encode(md5.digest()).decode()


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
