"""Words for messages: the option that was probably meant, a value made short, one thing or many."""

from __future__ import annotations


def unknown(option: str, known: tuple[str, ...]) -> str:
    """Return the words for an option nobody declared: the option that was probably meant, or all options."""
    hint = meant(option, list(known))
    return f"unknown option{hint}" if hint else f"unknown option; allowed: {', '.join(sorted(known))}"


def meant(word: str, known: list[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean X?` for the nearest known word, or nothing."""
    near = nearest(word, known, cutoff)
    return f"; did you mean {near}?" if near else ""


def nearest(word: str, known: list[str], cutoff: float = 0.6) -> str:
    """Return the known word that is most like this one, or nothing."""
    import difflib  # imported here: a worker meets no wrong word, and is spared its memory

    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), "")


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 queue`, `2,000 queues`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten(text: str, limit: int = 60) -> str:
    """Return a value as it is shown in an error: quoted, one line, not too long."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 4]}...{shown[0]}"
