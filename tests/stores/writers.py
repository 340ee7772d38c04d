"""Writers as processes of their own, to race and to be killed.

    python -m tests.stores.writers collect OPTIONS KEY NAME COUNT    adds NAME-0 … to a set kept in one object
    python -m tests.stores.writers replace OPTIONS KEY SIZE          replaces an object for ever, by one byte repeated
    python -m tests.stores.writers measure OPTIONS KEY PATH          stores a file and reads it; prints its memory

OPTIONS are those of `open_store`, as JSON. Each says on a line of its own what is durably stored.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from pathlib import Path

from aggregator.errors import Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import Conflict, NotFound, Store
from tests.servers import peak_kb


def add(store: Store, key: str, member: str) -> None:
    """Add a member to the set in an object, however many others do the same, and whatever breaks meanwhile."""
    in_doubt = False
    while True:
        try:
            try:
                body, tag = store.get(key)
                members = json.loads(body)
                if in_doubt and member in members:
                    return
                store.put(key, json.dumps([*members, member]).encode(), if_tag=tag)
            except NotFound:
                store.put(key, json.dumps([member]).encode(), if_absent=True)
            return
        except Conflict:
            continue
        except Unavailable:
            # a server that was killed may have stored it and not said so
            in_doubt = True


def collect(store: Store, key: str, name: str, count: str) -> None:
    """Add numbered members one after the other."""
    for number in range(int(count)):
        add(store, key, f"{name}-{number}")
        print(f"{name}-{number}", flush=True)


def replace(store: Store, key: str, size: str) -> None:
    """Replace an object again and again."""
    for number in itertools.count():
        store.put(key, bytes([number % 256]) * int(size))
        print(number, flush=True)


def measure(store: Store, key: str, path: str) -> None:
    """Store a small object and then a file, read the file's object, and print how much memory the second took."""
    store.put("small", b"small")
    store.get("small")
    before = peak_kb()
    store.put(key, Path(path))
    digest = hashlib.sha256()
    with store.open_read(key) as reader:
        while chunk := reader.read(1024 * 1024):
            digest.update(chunk)
    after = peak_kb()
    print(json.dumps({"sha256": digest.hexdigest(), "grown_kb": after - before}), flush=True)


def main(task: str, options: str, *arguments: str) -> None:
    """Do one task."""
    tasks = {"collect": collect, "replace": replace, "measure": measure}
    tasks[task](open_store(**json.loads(options)), *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
