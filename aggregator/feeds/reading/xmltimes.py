"""Read the publication time of a body in XML: of SIRI, or the first element at a path."""

from __future__ import annotations

import re
from collections.abc import Callable

from aggregator.feeds.reading.fetched import Corrupt, Fetched, Reader, looks_like, moment_of
from aggregator.feeds.reading.jsontimes import json_reader
from aggregator.feeds.reading.xmltext import find_texts, path_matcher

_JSON_OBJECT = re.compile(rb"\s*\{")


def read_siri(fetched: Fetched) -> int | float:
    """Return the first ResponseTimestamp of the delivery, in XML (SOAP around it or not) or SIRI Lite's JSON."""
    if _JSON_OBJECT.match(fetched.body):
        return json_reader("/Siri/ServiceDelivery/ResponseTimestamp")(fetched)
    return xml_reader("ResponseTimestamp")(fetched)


def xml_reader(path: str) -> Reader:
    """Return a reader of the first element or attribute (`/@NAME` last) at a path of names; namespaces are ignored.

    A path with a leading slash starts at the document's root; any other path matches anywhere.
    """
    wanted = path_matcher(path)

    def read(fetched: Fetched) -> int | float:
        texts = texts_in(fetched.body, wanted)
        if not texts:
            raise Corrupt(f"XML without {path}")
        return moment_of(texts[0], path)

    return read


def texts_in(body: bytes, wanted: Callable[[list[str]], bool]) -> list[str]:
    """Return the first wanted text of a body in XML, which is read to its end, in a list. Raises Corrupt."""
    texts: list[str] = []
    find_in(body, wanted, lambda _, text: None if texts else texts.append(text))
    return texts


def find_in(body: bytes, wanted: Callable[[list[str]], bool], take: Callable[[tuple[str, ...], str], None]) -> None:
    """Pass each wanted text of a body in XML, which is read to its end, to `take`. Raises Corrupt."""
    try:
        find_texts(body, wanted, take)
    except ValueError as error:
        raise Corrupt(f"{error}{looks_like(body)}") from error
