"""The Lua scripts: each is one atomic step, and is put together from files in lua/, which describe it."""

from __future__ import annotations

from pathlib import Path

from aggregator.runtime.connection import Script

_LUA = Path(__file__).parent / "lua"

# The parts of a script: files of functions, and the line that calls them. In `turn` the keys and arguments of the claim
# come first, because their number is known.
_CALLS = {
    "claim": (("claim",), "return claim(1, 1, #ARGV - 5)"),
    "commit": (("commit",), "return commit(1, 1)"),
    "turn": (
        ("claim", "commit"),
        """local limits = tonumber(ARGV[1])
local status = commit(11 + 3 * limits, 7 + limits)
if type(status) == 'table' then return status end
if status ~= 'ok' and status ~= 'again' then return {status, ''} end
return claim(1, 2, limits)""",
    ),
}


def script(name: str) -> Script:
    """Return one of the project's Lua scripts, with the shared functions of common.lua in front."""
    parts, call = _CALLS.get(name, ((name,), ""))
    return Script("\n".join([*((_LUA / f"{part}.lua").read_text() for part in ("common", *parts)), call]))
