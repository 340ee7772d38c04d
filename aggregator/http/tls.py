"""TLS contexts: they trust the system's authorities and further ones, and may show a certificate of our own."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import Any

from aggregator.http.deadlines import Socket, TlsSocket
from aggregator.http.route import Tls

MOST_CONTEXTS = 32
"""The most contexts that are kept, the ones used last. Each takes 0.8 MB, for the system's authorities, and 20 ms to
make."""


class Context(ssl.SSLContext):
    """A context whose TLS sockets end at the deadline of the sockets that they wrap."""

    sslsocket_class = TlsSocket

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Return the socket with TLS around it, after the handshake."""
        assert isinstance(sock, Socket)
        deadline = sock.deadline
        options["do_handshake_on_connect"] = False
        safe = super().wrap_socket(sock, *args, **options)
        assert isinstance(safe, TlsSocket)
        safe.deadline = deadline
        try:
            safe.do_handshake()
        except BaseException:
            safe.close()
            raise
        return safe


def make_context(tls: Tls) -> Context:
    """Return a new context. Raises OSError (ssl.SSLError among them) for files that cannot be used."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    load(context, tls)
    return context


def load(context: ssl.SSLContext, tls: Tls) -> None:
    """Load the files into a context. Raises OSError (ssl.SSLError among them)."""
    if tls.ca_file:
        context.load_verify_locations(tls.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.client_cert:
        context.load_cert_chain(tls.client_cert, tls.client_key or None, _no_passphrase)


def _no_passphrase() -> str:
    raise ssl.SSLError("its key is encrypted, and nobody is there to type the passphrase")


class Contexts:
    """The contexts that are in use. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[object, ...], Context] = {}

    def get(self, tls: Tls) -> Context:
        """Return the context for these files as they are now: a renewed certificate is used at once."""
        key = (tls, *(_mark(file) for file in tls if file))
        with self._lock:
            context = self._made.pop(key, None) or make_context(tls)
            self._made[key] = context
            if len(self._made) > MOST_CONTEXTS:
                del self._made[next(iter(self._made))]
            return context


def _mark(file: str) -> tuple[int, int, int]:
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size, found.st_ino
