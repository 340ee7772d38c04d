"""The text of the scripts run/aggregator and run/supervisorctl."""

from __future__ import annotations

import shlex
from pathlib import Path

from aggregator.config import safepath
from aggregator.supervision.generated import MARK


def launcher(settings: Path | None = None) -> str:
    """Return the text of run/aggregator.

    Only this script and run/supervisorctl name this machine's Python. The script finds its instance by its own
    location, so that in a copy of the folder it finds the copy. `settings` is the file that the instance was built
    from, if this is not the loglines.cfg in its folder.
    """
    named = f" -s {shlex.quote(str(settings))}" if settings is not None else ""
    return _script(safepath.python(safepath.COMMAND_LINE), f'-r "$root"{named}')


def supervisorctl() -> str:
    """Return the text of run/supervisorctl."""
    return _script(safepath.python(safepath.SUPERVISORCTL), '"$root"')


def _script(command: list[str], arguments: str) -> str:
    """Return a script that runs a command for the instance whose folder holds the script."""
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
