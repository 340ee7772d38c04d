"""Property tests: as many examples as a quick run allows, and nothing left in the checkout but in .cache."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests.stores.conftest import moto, options, prefix, proxy, seaweedfs, store, troubled

__all__ = ["moto", "options", "prefix", "proxy", "seaweedfs", "store", "troubled"]

set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache" / "hypothesis")
settings.register_profile("project", max_examples=60, deadline=None)
settings.load_profile("project")
