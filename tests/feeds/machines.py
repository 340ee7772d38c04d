"""A machine that compresses and archives: real worker processes on a real Redis, to be killed and started again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from aggregator.config.loading import load
from aggregator.feeds.bundle.bundles import Contents, read_bundle
from aggregator.feeds.query.catalogue import open_bundle
from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from aggregator.runtime.ledger import Account, accounts
from aggregator.runtime.message import encode_body
from aggregator.stores.store import Store
from aggregator.supervision import build
from tests.processes import PROJECT
from tests.servers import wait_until

SECTIONS = ("worker_compress", "worker_archive")


class Machine:
    """One node with `compress` and `archive`; as a context manager its processes are gone at the end."""

    def __init__(self, root: Path, redis_url: str, namespace: str, store: dict[str, Any], **compress: Any) -> None:
        self.root = root
        self.node = root.name
        (root / "run").mkdir(parents=True)
        (root / "run" / "node").write_text(f"{self.node}\n")
        options = {"grace": "300ms", "bundle": "1h", "maxdeliveries": 1000} | compress
        sections = {
            "redis": {"url": redis_url, "namespace": namespace},
            "worker_compress": {
                "stage": "compress", "listento": "published@node", "pushto": "bundled@node", **options,
            },
            "worker_archive": {
                "stage": "archive", "listento": "bundled@node", "store": "test", "prefix": "feeds", "keep": "0",
                "maxdeliveries": 1000, "maxtries": 1000, "retrymax": "500ms",
            },
            "store_test": store,
        }  # fmt: skip
        lines = [f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in texts.items()) for name, texts in sections.items()]
        (root / "loglines.cfg").write_text("\n".join(lines))
        build(load(root / "loglines.cfg", root))
        self._client = connect(redis_url)
        self._keys = Keys(namespace)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def push(self, *bodies: dict[str, Any]) -> None:
        """Do as `filter` does with what `publish` returned."""
        if bodies:
            self._client.rpush(self._keys.queue(f"published@{self.node}"), *map(encode_body, bodies))

    def start(self, *sections: str) -> None:
        """Start the worker of each section that does not run; of both without names."""
        for section in sections or SECTIONS:
            process = self._processes.get(section)
            if process is None or process.poll() is not None:
                with open(self.root / f"{section}.log", "ab") as log:
                    self._processes[section] = subprocess.Popen(
                        [sys.executable, "-m", "aggregator", "-r", str(self.root), "work", section, "0"],
                        stdout=log, stderr=log, cwd=PROJECT,
                    )  # fmt: skip

    def kill(self, section: str) -> None:
        """SIGKILL a worker."""
        self._processes[section].kill()
        self._processes[section].wait()

    def kill_one(self) -> None:
        """SIGKILL any worker, and start it again."""
        section = random.choice(SECTIONS)
        self.kill(section)
        self.start(section)

    def books(self) -> list[Account]:
        """Return the accounts of this machine's queues."""
        return [account for account in accounts(self._client, self._keys) if account.name.endswith(f"@{self.node}")]

    def is_done(self) -> bool:
        """True when everything is archived, nothing is set aside and the books balance."""
        books = self.books()
        assert not any(account.dead for account in books), self.log()
        waiting = any(account.ready or account.in_flight or account.delayed or account.timers for account in books)
        return bool(books) and not waiting and all(account.balanced for account in books) and not self.leftovers()

    def leftovers(self) -> list[Path]:
        """Return the files of feeds that are still on this machine."""
        # os.walk passes over folders that workers remove meanwhile, where rglob raises FileNotFoundError
        return [Path(folder, name) for folder, _, names in os.walk(self.root / "data/feeds") for name in names]

    def wait_until_done(self, timeout_s: float) -> None:
        """Wait until everything is archived, starting again whoever has ended."""

        def done() -> bool:
            self.start()
            return self.is_done()

        try:
            wait_until(done, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.books()}\n{self.leftovers()[:20]}\n{self.log()}") from error

    def log(self) -> str:
        """Return the end of what the workers wrote."""
        texts = [(self.root / f"{section}.log").read_text()[-3000:] for section in SECTIONS]
        return "\n".join(texts)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._client.close()


def stored(store: Store) -> dict[str, Contents]:
    """Return what every object of a store holds."""
    found = {}
    for info in store.list("feeds/"):
        with open_bundle(store, info.key) as file:
            found[info.key] = read_bundle(file)
    return found
