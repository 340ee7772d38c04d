"""Trouble to be made by the proxy between a store and its server."""

from __future__ import annotations

from collections.abc import Callable

from tests.stores.servers import Exchange

MB = 1024 * 1024
Trouble = Callable[[Exchange], None]


class Once:
    """Make trouble with the first `times` exchanges that match, then behave."""

    def __init__(self, trouble: Trouble, method: str = "", path_has: str = "", times: int = 1) -> None:
        self._trouble = trouble
        self._method = method
        self._path_has = path_has
        self.left = times

    def __call__(self, exchange: Exchange) -> None:
        if self.left and exchange.method.startswith(self._method) and self._path_has in exchange.path:
            self.left -= 1
            self._trouble(exchange)
        else:
            exchange.pass_on()


def lose_answer(exchange: Exchange) -> None:
    """Let the server do it and the client not know."""
    exchange.forward()
    exchange.hang_up()


def refuse(status: int, code: str) -> Trouble:
    """Answer with this error, in the server's place."""
    return lambda exchange: exchange.refuse(status, code)
