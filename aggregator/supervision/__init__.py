"""From a configuration to supervised processes: files, links, and talk with supervisord."""

from __future__ import annotations

from aggregator.supervision.control import Changes, Control, ProcessState, SupervisorError
from aggregator.supervision.links import disable, enable
from aggregator.supervision.plan import Action, Plan, apply, build, plan

__all__ = [
    "Action",
    "Changes",
    "Control",
    "Plan",
    "ProcessState",
    "SupervisorError",
    "apply",
    "build",
    "disable",
    "enable",
    "plan",
]
