"""Instances in folders with short paths, as the tests of supervision have them."""

from __future__ import annotations

from tests.supervision.conftest import tmp_path

__all__ = ["tmp_path"]
