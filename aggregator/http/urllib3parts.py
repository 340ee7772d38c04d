"""The part of urllib3 that is used: connections, which write requests, open tunnels and put TLS around them.

urllib3 loads brotli and zstd, where they are installed, for its own answers. These answers are not used here, and the
two modules would cost 1.2 MB in each worker that makes requests. The modules are hidden from urllib3 while it is
loaded; other code finds them afterwards.
"""

from __future__ import annotations

import sys

_HIDDEN = ("brotli", "brotlicffi", "backports.zstd", "compression.zstd")
_shown = {name: sys.modules[name] for name in _HIDDEN if name in sys.modules}
if "urllib3" not in sys.modules:
    sys.modules.update(dict.fromkeys(_HIDDEN))  # type: ignore[arg-type]
try:
    from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
    from urllib3.util import Url
finally:
    for name in _HIDDEN:
        if sys.modules.get(name, sys) is None:
            del sys.modules[name]
    sys.modules.update(_shown)

__all__ = ["HTTPConnection", "HTTPSConnection", "ProxyConfig", "Url"]
