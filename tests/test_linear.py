"""What reads other people's bytes takes time in proportion to them, also of the worst that they can be.

Each reader runs in a process that may use some ten times the processor that it needs; one whose work grows with the
square of the bytes needs many minutes for some of these.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

SIZE = 256 * 1024
CPU_S = 30


def fill(unit: str, begin: str = "", end: str = "") -> str:
    """Return a text of SIZE characters that repeats one thing."""
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + end


def addresses() -> Iterator[str]:
    """Yield addresses as a redirect may name them."""
    for unit in (
        "?key", "&key=", "?", "?=", "=?", "#", "a", "@", ":", "/", "://", "%(ENV_", "pass", "%(ENV_A)s",
        "\u0301\u0316",
    ):  # fmt: skip
        yield fill(unit)
        yield fill(unit, "http://x/?")
        yield fill(unit, "http://")
        yield fill(unit, "http://x/", "@")


def mask_addresses() -> None:
    """Hide what is secret in an address."""
    from aggregator.http.masking import mask_bad_url, mask_url

    for address in addresses():
        mask_url(address)
        mask_bad_url(address)


def hide_secrets() -> None:
    """Hide what was sent in an answer that repeats it, in part or often."""
    from aggregator.http.secrets import Secrets, of_header, of_url

    for address in addresses():
        Secrets([*of_url(address)][:4])
        [*of_header("x-key", address), *of_header("authorization", f"Basic {address}")]
    for unit in ("a", "ab", "aaaaaaaab", "'", "http://"):
        for secret in ("a" * 4000, "a" * 3999 + "b", "ab" * 4, "http://" + "a" * 4000):
            Secrets([secret]).hide(fill(unit))


def follow_redirects() -> None:
    """Take apart the address of a redirect, of any length."""
    from aggregator.http.framing import Broken
    from aggregator.http.urls import LONGEST_URL, Refused, next_url, origin_of

    for address in addresses():
        for text in (address, address[: LONGEST_URL // 4]):
            with suppress(Broken, Refused, ValueError):
                origin_of(next_url("http://x/a/", 302, [text.encode().decode("latin-1")]))


def read_headers() -> None:
    """Read the headers of an answer."""
    from aggregator.http.heads import BadHead, Lines, read_head

    for unit in (
        "a: b\r\n", "a\r\n", " a\r\n", ": \r\n", "\r", "\0", "a\0", "a b", "a: b\r\n c\r\n", "content-",
        "\xe9: \r\n",
    ):  # fmt: skip
        for end in ("", "\r\n\r\n"):
            with suppress(BadHead):
                read_head(Lines(io.BytesIO(fill(unit, "a: ", end).encode("latin-1")).readline))


def read_challenges() -> None:
    """Read who a server wants to be told asks."""
    from aggregator.http.challenges import choose_digest, read_challenges

    for unit in (",", '"', "a ", "a=", 'a="', '\\"', "a ,", "=", 'a="b",', "Digest realm=a,nonce=b,"):
        for begin in ("", "Digest ", 'Digest a="'):
            choose_digest(read_challenges([fill(unit, begin)]))


def read_dates() -> None:
    """Read what should be a time."""
    from aggregator.feeds.reading.dates import read_moment

    for unit in ("1", "1 ", "(", "()", " ", ":", "1:11", "1:11 ", "-", "2026", "Mon, ", "+", ".1", "Z"):
        for begin in ("", "2026-11-28T05:05:36.", "Sat, 28 Nov 2026 05:05:36 ", "1."):
            with suppress(ValueError):
                read_moment(fill(unit, begin))


def read_names() -> None:
    """Take apart names of files and keys in a store."""
    from aggregator.feeds.bundle.revisions import _REVISION
    from aggregator.feeds.naming.bundles import is_manifest_name
    from aggregator.feeds.naming.feednames import parse_extension, parse_feed_name
    from aggregator.feeds.naming.publications import is_publication_name
    from aggregator.feeds.query.catalogue import read_key

    stamp = "-2026-11-28T050536Z"
    for unit in (
        stamp, f"{stamp}.a", ".a", ".", "-", "/", "2026-11-28/05/", "a", f"{stamp}.manifest.", ".r1", ".r",
        "-aaaaaaaa",
    ):  # fmt: skip
        for end in ("", "!", ".tar.zst", f"{stamp}.tar.zst"):
            text = fill(unit, "a", end)
            is_manifest_name(text)
            is_publication_name(text)
            _REVISION.search(text)
            for read in (read_key, parse_feed_name, parse_extension):
                with suppress(ValueError):
                    read(text)


def read_settings() -> None:
    """Read a configuration, or what was given as one."""
    from aggregator.config import ini

    for unit in (
        "a", "a ", " ", "a = b\n", "a\n", " a\n", "[", "[]\n", "[a]\n", " ;", ";", "=", ":", "\0", "\r", '"',
        "a : ", "b = 1\n c\n",
    ):  # fmt: skip
        for begin, end in (("", ""), ("[a]\nb = 1\n", ""), ("[a]\nb", "c"), ("[", "")):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(fill(unit, begin, end))
                file.flush()
                ini.read(Path(file.name))


def read_old_settings() -> None:
    """Read the settings of the old program."""
    from aggregator.errors import AggregatorError
    from aggregator.feeds.settings.oldprogram import import_settings

    def settings(url: str) -> str:
        return f"from x import f\nfeeds = [['a', {url!r}, 'pb', f]]\n"

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "remote_settings.py"
        doubled = "a = 'x'\nb = ['x']\n" + "a = a + a\nb = b + b\na = '%s%s' % (a, a)\n" * 60
        for text in (*map(settings, addresses()), doubled + settings("http://x/"), fill("-", "a = "), fill("(")):
            file.write_text(text)
            with suppress(AggregatorError):
                import_settings(file)


def read_log_lines() -> None:
    """Read lines of an access log."""
    from configparser import ConfigParser

    from aggregator.logs.openurl import mask
    from plugins.accesslog import get_openurl_params, parseline

    config = ConfigParser()
    config.read_dict({"accesslog": {}, "worker_a": {}})
    head = '192.0.2.1 - - [28/Nov/2026:05:05:36 +0000] "'
    end = ' HTTP/1.1" 200 1 "-" "-"'
    units = (
        head, head + '" 200 1 "', " [", '"', "\\", '\\"', "[28/Nov/2026:05:05:36 +0000] ", "1", "1.", ":",
        ",", " ", "%25", "/objects/uuid:", "a/",
    )  # fmt: skip
    for unit in units:
        for text in (
            fill(unit),
            fill(unit, head),
            fill(unit, f"{head}GET /", end),
            fill(unit, f'{head}GET / HTTP/1.1" 200 1 "'),
        ):
            get_openurl_params(config, "worker_a", parseline(json.dumps({"service": "s", "logline": text})))
            mask(text)


def unpack_bodies() -> None:
    """Unpack a body of a great many empty members."""
    import gzip

    from aggregator.http.framing import Broken
    from aggregator.http.packings import unpack

    empty = gzip.compress(b"", mtime=0)
    whole = empty * (SIZE // len(empty))
    pieces = [whole[at : at + 65536] for at in range(0, len(whole), 65536)]
    assert b"".join(unpack(iter(pieces), "gzip", set())) == b""
    with suppress(Broken):
        list(unpack(iter([empty + bytes(SIZE), bytes(SIZE), b"x"]), "gzip", set()))


READERS: dict[str, Callable[[], None]] = {
    reader.__name__: reader
    for reader in (
        mask_addresses, hide_secrets, read_challenges, follow_redirects, read_headers, read_dates, read_names,
        read_settings, read_old_settings, read_log_lines, unpack_bodies,
    )
}  # fmt: skip


def limit() -> None:
    """Let the process die of work that is not linear."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


@pytest.mark.parametrize("reader", READERS)
def test_the_work_grows_no_faster_than_what_is_read(reader: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "tests.test_linear", reader], preexec_fn=limit, check=False)

    assert ran.returncode == 0


if __name__ == "__main__":
    READERS[sys.argv[1]]()
