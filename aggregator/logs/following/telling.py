"""What `tail` reports of its files: globs without a file, files that are read again, files that cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aggregator.files.names import text_of
from aggregator.logs.following.livepath import GAP_S, NEVER_S
from aggregator.logs.following.pattern import Pattern
from aggregator.logs.following.rotation import FollowedLog
from aggregator.runtime.context import Context


class Telling:
    """The reports and notes of one section."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told_again: dict[str, tuple[int, int]] = {}
        """The files that were already reported as read before."""

    def follows_nothing(self, pattern: Pattern, logs: Sequence[FollowedLog], now: float) -> None:
        """Report a glob for which no file is followed; a path that is no glob reports this itself."""
        if not pattern.is_glob:
            return
        if any(log.followed or log.elsewhere or log.problem for log in logs):
            pattern.lonely_since = 0.0
            self._context.withdraw("follows_nothing", text_of(pattern.text))
            return
        pattern.lonely_since = pattern.lonely_since or now
        lonely_s, ever = now - pattern.lonely_since, any(log.generations.seen_before for log in logs)
        if ever and lonely_s < GAP_S:
            return
        self._context.report(
            "follows_nothing",
            f"{pattern.text} stands for no file that could be a log",
            "check `logfile`; rotated, compressed and half-made files are no logs of their own",
            about=text_of(pattern.text),
            level="error" if not ever and lonely_s >= NEVER_S else "warning",
        )

    def began_anew(self, again: Mapping[str, tuple[int, int]]) -> None:
        """Report files that were read before but have no stored position any more.

        `again` has for each path the number of bytes that are read a second time, and of those that are left out.
        """
        if not again or again == self._told_again:
            return
        self._context.count("began_anew", len(again) - len(self._told_again))
        self._told_again = dict(again)
        parts = [
            f"{name} ({read} bytes are read a second time)" if not left else f"{name} ({left} bytes are left out)"
            for name, (read, left) in again.items()
        ]
        self._context.withdraw("began_anew")
        self._context.report(
            "began_anew",
            f"Redis knows no position in files that were read before, {len(parts)} in all: {_some(parts)}",
            "expect the lines twice (with from = end: lines between are missing)",
            lasting=True,
        )

    def files(self, logs: Collection[FollowedLog]) -> None:
        """Report files that cannot be read, and note how many are followed; `logs` are all logs of the section."""
        troubled = [log for log in logs if log.problem]
        troubles = [f"{log.name}: {log.problem}" for log in troubled]
        matched = [text for log, text in zip(troubled, troubles, strict=True) if log.matched]
        if matched:
            self._context.report(
                "unreadable",
                f"{len(matched)} files cannot be read: {_some(matched)}; they are tried again",
                "check the rights of the files and their folders",
            )
        else:
            self._context.withdraw("unreadable")
        followed = sum(log.followed and not log.problem for log in logs)
        self._context.note("files", str(followed))
        self._context.note("unreadable", _some(troubles))


def _some(texts: Sequence[str]) -> str:
    return "; ".join(texts[:3]) + (" …" if len(texts) > 3 else "")
