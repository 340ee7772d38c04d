"""Turn a configuration into supervised processes: write files, make links, and talk to supervisord."""

from __future__ import annotations

from aggregator.supervision.changes import Action, carry_out
from aggregator.supervision.control import Changes, Control, ProcessState, SupervisorError
from aggregator.supervision.links import disable, enable
from aggregator.supervision.plan import Plan, build, plan

__all__ = [
    "Action",
    "Changes",
    "Control",
    "Plan",
    "ProcessState",
    "SupervisorError",
    "build",
    "carry_out",
    "disable",
    "enable",
    "plan",
]
