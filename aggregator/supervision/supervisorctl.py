"""The supervisorctl that `run/supervisorctl` starts, which only talks to the supervisord of its own instance."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from aggregator.config.instance import Instance
from aggregator.errors import EXIT_USAGE
from aggregator.supervision.ownconf import why_not_ours


def main() -> None:
    """Run supervisorctl. The first argument is the instance's folder; the others are for supervisorctl."""
    instance = Instance(Path(os.path.realpath(sys.argv[1])))
    if words := why_not_ours(instance):
        print(words, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    # imported here: a refusal does not need it
    from supervisor.supervisorctl import main as supervisorctl

    sys.argv[0] = "supervisorctl"
    supervisorctl(["-c", str(instance.supervisord_conf), *sys.argv[2:]])
