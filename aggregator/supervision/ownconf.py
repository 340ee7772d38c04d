"""Check that supervisord.conf was built for the folder that it lies in.

A copied folder still has the supervisord.conf of the original. This file may name a socket outside the folder, which
is the original's: a `stop` in the copy would then stop the original.
"""

from __future__ import annotations

from configparser import Error, RawConfigParser
from pathlib import Path

from aggregator.config.instance import Instance


def why_not_ours(instance: Instance) -> str | None:
    """Return why an instance's supervisord.conf must not be used, and what to do; None when the file is its own."""
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
