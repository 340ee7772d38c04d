"""Retrieve all that a store has, and look at what came."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

from aggregator.feeds.query.catalogue import find_bundles
from aggregator.feeds.query.retrieve import retrieve
from aggregator.feeds.query.retrieveone import Layout, Retrieved
from aggregator.stores.store import Store
from tests.feeds.archives import START

STAMP = "2024-02-08T130000Z"


def fetch(store: Store, folder: Path, layout: Layout = "folders") -> list[Retrieved]:
    """Retrieve everything a store has."""
    return sorted(retrieve(store, find_bundles(store, ""), folder, layout))


def tree(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, our own notes left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".retrieved" not in path.parts
    }


def foreign_tar(*members: tuple[str, bytes]) -> bytes:
    """Return an archive of another program's."""
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), START
            tar.addfile(member, BytesIO(data))
    return target.getvalue()
