"""Whether supervisord.conf was built for the folder that it lies in.

A folder that was copied still has the one of the original, which names the original's socket where that lies outside
the folder: `stop`, said to the copy, would act on the original.
"""

from __future__ import annotations

from configparser import Error, RawConfigParser
from pathlib import Path

from aggregator.config.instance import Instance


def why_not_ours(instance: Instance) -> str | None:
    """Return why its supervisord.conf must not be used, and what to do; None when it is this instance's own."""
    file = instance.supervisord_conf
    advice = f"build it here first: {instance.command()} config build"
    parser = RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8", errors="surrogateescape"))
        text = parser.get("unix_http_server", "file")
    except OSError as error:
        return f"{file}: {error.strerror}; {advice}"
    except Error:
        return f"{file} was not written by `run/aggregator config build`; {advice}"
    socket = Path(text.replace("%(here)s", str(instance.root)).replace("%%", "%"))
    if socket != instance.supervisor_socket:
        found = f"it names the socket {socket}, and the one of this folder is {instance.supervisor_socket}"
        return f"{file} was built for another folder: {found}; {advice}"
    return instance.foreign_sockets()
