"""The text of the scripts run/aggregator and run/supervisorctl."""

from __future__ import annotations

import shlex
from pathlib import Path

from aggregator.config import safepath
from aggregator.supervision.generated import MARK


def launcher(settings: Path | None = None) -> str:
    """Return run/aggregator: with run/supervisorctl the one place where this machine's Python stands.

    It finds its instance by where it lies, so that a copy of the folder has its own. `settings` is the file that it was
    built from, if that is not its own loglines.cfg.
    """
    named = f" -s {shlex.quote(str(settings))}" if settings is not None else ""
    return _script(safepath.python(safepath.COMMAND_LINE), f'-r "$root"{named}')


def supervisorctl() -> str:
    """Return run/supervisorctl."""
    return _script(safepath.python(safepath.SUPERVISORCTL), '"$root"')


def _script(command: list[str], arguments: str) -> str:
    """Return a script that runs a command for the instance it lies in."""
    return f"""#!/bin/sh
# {MARK}
here=$(PATH="/usr/bin:/bin:$PATH" readlink -f "$0") && root=$(cd "${{here%/*}}/.." && pwd) || exit 1
if [ -n "${{PYTHONPATH+x}}" ]; then
    # Python takes an empty entry for the working folder, whose files would be executed
    kept=; set -f; IFS=:
    for entry in $PYTHONPATH; do [ -z "$entry" ] || kept="$kept${{kept:+:}}$entry"; done
    set +f; unset IFS
    PYTHONPATH=$kept
    [ -n "$kept" ] || unset PYTHONPATH
fi
exec {shlex.join(command)} {arguments} "$@"
"""
