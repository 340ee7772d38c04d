"""Say in one line why there is no whole answer."""

from __future__ import annotations

import re
import socket
import ssl

from aggregator.http.framing import Broken
from aggregator.http.heads import BadHead
from aggregator.http.lookups import Unresolved
from aggregator.http.route import Tls
from aggregator.http.secrets import Secrets
from aggregator.http.urls import Refused, printable

_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
"""The codes of OpenSSL for a chain of certificates that does not lead to a trusted authority."""


def describe_late(error: TimeoutError) -> str:
    """Return the words to add to those for an answer that did not come in time; '' when there is nothing to add."""
    return f": {error}" if isinstance(error, Unresolved) else ""


def describe(error: Exception, secrets: Secrets, tls: Tls) -> str:
    """Return the words for one of the exceptions that a request may raise, without what was sent in secret."""
    # order: secrets are hidden before the text is cut, as the rest of one that was cut could not be told
    return printable(secrets.hide(_words(error, tls)))


def _words(error: Exception, tls: Tls) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host's name cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return describe_tls(error, tls)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, BadHead | Broken | Refused):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def describe_tls(error: ssl.SSLError, tls: Tls | None) -> str:
    """Return the words for a failure of TLS, with those of OpenSSL behind them; `tls` is None for a proxy's TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "; ca_file can name the authority, or the intermediate that the server leaves out"
        return f"TLS: {error.verify_message}{advice if error.verify_code in _UNKNOWN_ISSUER else ''}"
    told = error.reason or _PLACE.sub("", error.strerror or str(error))
    words = _meaning(told.replace("_", " ").lower(), tls)
    return f"TLS: {words} ({told})" if words else f"TLS: {told}"


def _meaning(told: str, tls: Tls | None) -> str:
    """Return what an error of OpenSSL most likely means; '' when it says so itself, or may mean anything."""
    if any(sign in told for sign in _NO_TLS):
        return "the port speaks http, not https, or a protocol of its own"
    if "alert" in told and any(sign in told for sign in _OUR_CERTIFICATE):
        return _about_our_certificate("was refused", "is wanted", tls)
    if "alert handshake failure" in told:
        return _about_our_certificate("may have been refused", "may be wanted", tls)
    if "eof" in told:
        return f"the connection broke off; {_about_our_certificate('may have been refused', 'may be wanted', tls)}"
    return ""


def _about_our_certificate(refused: str, wanted: str, tls: Tls | None) -> str:
    if tls is None:
        return f"a certificate {wanted}, and a proxy is shown none"
    return f"client_cert {refused}" if tls.client_cert else f"a certificate {wanted}; client_cert names one to show"


_PLACE = re.compile(r"\s*\(_ssl\.c:\d+\)$|^\[[^\]]*\]\s*")
"""What Python adds to the words of OpenSSL."""
_NO_TLS = ("wrong version number", "record layer failure", "http request", "unknown protocol", "packet length too long")
_OUR_CERTIFICATE = ("certificate", "unknown ca", "access denied")
"""Parts of the alerts by which a server refuses a certificate, or the lack of one. They differ between versions of TLS
and of OpenSSL."""
