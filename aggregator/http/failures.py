"""Say in one line why there is no whole answer."""

from __future__ import annotations

import socket
import ssl

from aggregator.http.framing import Broken
from aggregator.http.heads import BadHead
from aggregator.http.lookups import Unresolved
from aggregator.http.secrets import Secrets
from aggregator.http.urls import Refused, printable

_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
"""The codes of OpenSSL for a chain of certificates that does not lead to a trusted authority."""


def describe_late(error: TimeoutError) -> str:
    """Return the words to add to those for an answer that did not come in time; '' when there is nothing to add."""
    return f": {error}" if isinstance(error, Unresolved) else ""


def describe(error: Exception, secrets: Secrets) -> str:
    """Return the words for one of the exceptions that a request may raise, without what was sent in secret."""
    # order: secrets are hidden before the text is cut, as the rest of one that was cut could not be told
    return printable(secrets.hide(_words(error)))


def _words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host's name cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "; ca_file can name the authority, or the intermediate that the server leaves out"
        return f"TLS: {error.verify_message}{advice if error.verify_code in _UNKNOWN_ISSUER else ''}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, BadHead | Broken | Refused):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
