"""Where archives are kept: a folder or an S3 bucket, behind one contract with conditional writes.

docs/stores.md tells users what each kind of store needs and promises.
"""

from __future__ import annotations

from typing import Any

from aggregator.errors import ConfigError
from aggregator.stores.settings import StoreSettings, kind_of, settings_of
from aggregator.stores.store import Store


def open_store(url: str, **options: Any) -> Store:
    """Return the store at a URL such as `file:///path` or `s3://bucket/prefix`; `options` are those of its kind.

    Nothing is sent or written yet. Raises ConfigError for settings that can never work.
    """
    return open_configured(settings_of(url, **options))


def open_configured(settings: StoreSettings) -> Store:
    """Return the store that a section describes."""
    kind = kind_of(settings.url)
    faults = [f"{option}: {fault}" for option, fault in kind.faults_of(settings)]
    if faults:
        raise ConfigError(*faults)
    return kind.open(settings)
