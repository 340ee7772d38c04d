"""Sections that the pipelines of several tests have."""

from __future__ import annotations


def storing(grace: str, keep: str) -> str:
    """Return the sections that make bundles of a minute, and store them in a folder."""
    return f"""[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node
bundle = 1m
grace = {grace}
[worker_archive]
stage = archive
listento = bundled@node
store = disk
keep = {keep}
[store_disk]
url = file://%(here)s/data/archive
"""
