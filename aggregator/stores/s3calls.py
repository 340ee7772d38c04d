"""Requests to one S3 bucket: they are repeated while that may help, and their errors become ours.

botocore repeats requests without telling the caller. A conditional write whose first answer was lost would then look
like a conflict with another writer. So botocore repeats nothing, and this module repeats requests instead.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from aggregator.errors import AggregatorError, ConfigError, Reject, Retry, Unavailable
from aggregator.stores.store import Conflict, NotFound

_CONNECT_TIMEOUT_S = 10.0
_BUSY_PAUSE_S = 15.0
_MEND_PAUSE_S = 60.0
"""How long to wait for an operator: long enough to be no load, short enough to go on soon."""

_BUSY = {"SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "ServiceUnavailable", "ThrottlingException"}
_AGAIN = {"BadDigest", "IncompleteBody", "InternalError", "RequestTimeout", "RequestTimeTooSkewed", "OperationAborted"}
_MISSING = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
_NEVER = {
    "EntityTooLarge",
    "EntityTooSmall",
    "InvalidObjectState",
    "KeyTooLongError",
    "MetadataTooLarge",
    "MethodNotAllowed",
    "NotImplemented",
}
_MEND = {"AuthorizationHeaderMalformed", "ExpiredToken", "InvalidBucketName", "InvalidToken", "NoSuchBucket"}
_BROKEN_OFF = (BotoConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)
FAILURES = (ClientError, BotoCoreError, ResponseParserError)
"""The exceptions that a botocore request, or the reading of its answer, raises."""
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)


class Answer(NamedTuple):
    """What a failed request means: our error, and whether the same request may succeed in a moment."""

    error: AggregatorError
    again: bool = False


class Calls:
    """Call operations of one bucket."""

    def __init__(self, client: Any, bucket: str, attempts: int = 4, backoff_s: float = 0.25) -> None:
        self._client = client
        self.bucket = bucket
        self.attempts = attempts
        self._backoff_s = backoff_s

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Return an operation's response. Raises Conflict, NotFound, Reject, Retry, Unavailable."""
        what = f"s3://{self.bucket}/{arguments.get('Key', arguments.get('Prefix', ''))}: {operation}"
        conditional = "IfMatch" in arguments or "IfNoneMatch" in arguments
        body = arguments.get("Body")
        for attempt in itertools.count(1):
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
            try:
                response: dict[str, Any] = getattr(self._client, operation)(Bucket=self.bucket, **arguments)
                return response
            except FAILURES as error:
                answer = meaning_of(error, what, conditional)
                if not answer.again or attempt >= self.attempts:
                    raise answer.error from error
            self.wait(attempt)
        raise AssertionError

    def wait(self, attempt: int) -> None:
        """Wait before the next attempt: twice as long each time, with a random part that keeps processes apart."""
        time.sleep(self._backoff_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def connect_s3(
    bucket: str,
    *,
    endpoint_url: str | None,
    region: str | None,
    access_key: str | None,
    secret_key: str | None,
    profile: str | None,
    timeout_s: float,
) -> Calls:
    """Make a client for a bucket; nothing is sent yet.

    Credentials not given are looked for where every AWS program looks: environment, profile, role of the machine.
    """
    config = Config(
        connect_timeout=min(_CONNECT_TIMEOUT_S, timeout_s),
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=16,
        tcp_keepalive=True,
        # addresses of the form bucket.host need DNS names that servers other than AWS rarely have
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        # many servers do not know the newer checksums: every upload carries Content-MD5 and our own SHA-256 instead
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.session.Session(access_key, secret_key, region_name=region, profile_name=profile)
        # servers other than AWS accept any region, as long as the signature names one
        fallback = "us-east-1" if endpoint_url and not session.region_name else None
        return Calls(session.client("s3", region_name=fallback, endpoint_url=endpoint_url, config=config), bucket)
    except (ProfileNotFound, PartialCredentialsError, NoRegionError, InvalidConfigError, ValueError) as error:
        raise ConfigError(f"s3://{bucket}: {error}") from error


def meaning_of(error: Exception, what: str, conditional: bool) -> Answer:
    """Return the meaning of a failed request for the caller."""
    if isinstance(error, ParamValidationError):
        return Answer(Reject(f"{what}: {error}"))
    if isinstance(error, _CREDENTIALS):
        return Answer(Unavailable(f"{what}: {error}", _MEND_PAUSE_S))
    if isinstance(error, ClientError):
        return _meaning_of_response(error, what, conditional)
    return Answer(Unavailable(f"{what}: {error}"), isinstance(error, _BROKEN_OFF))


def _meaning_of_response(error: ClientError, what: str, conditional: bool) -> Answer:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    told = f"{what}: {status} {code} {error.response.get('Error', {}).get('Message', '')}".rstrip()
    if status == 412 or code == "PreconditionFailed" or (conditional and status == 409):
        return Answer(Conflict(told))
    if code in _MISSING:
        return Answer(NotFound(told))
    if code in _NEVER or status == 501:
        return Answer(Reject(told))
    if code in _BUSY or status in (429, 503):
        return Answer(Unavailable(told, _BUSY_PAUSE_S), True)
    if code in _AGAIN or status >= 500 or status in (408, 409):
        return Answer(Unavailable(told), True)
    # a fault that only an operator can mend is no message's fault: no message is set aside for it
    if code in _MEND or status in (301, 307, 401, 402, 403):
        return Answer(Unavailable(told, _MEND_PAUSE_S))
    return Answer(Retry(told))
