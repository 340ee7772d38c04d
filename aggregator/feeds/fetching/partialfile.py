"""Write a download to the disk, under a temporary name until it is complete and durable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from aggregator.feeds.fetching.headernotes import write_headers
from aggregator.files.durable import sync_folder
from aggregator.files.faults import whose_fault


class PartialFile:
    """A file that is being written; as a context manager it is deleted unless `keep` was called.

    A fault of the disk raises Unavailable, as no feed is to blame for it. A fault of the file's own name raises Retry.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder = folder
        self.stem = stem
        self.part = folder / f"{stem}.{os.getpid()}.part"
        self._file: BinaryIO | None = None

    def write(self, piece: bytes) -> None:
        """Append a piece to the file."""
        try:
            file, left = self._open(), memoryview(piece)
            while left:
                # when the disk becomes full, the first sign is a short write, not an error
                left = left[file.write(left) :]
        except OSError as error:
            raise whose_fault(error, self.folder.parent, what=f"cannot write {self.part}") from error

    def _open(self) -> BinaryIO:
        if self._file is None:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
            self._file = open(self.part, "wb", buffering=0)  # noqa: SIM115 - closed by __exit__
        return self._file

    def keep(self, name: str, headers: Mapping[str, str] | None = None) -> Path:
        """Make the file durable under its final name, with these headers as an attribute, and return its path."""
        path = self.folder / name
        try:
            file = self._open()
            if headers:
                write_headers(file.fileno(), headers)
            # order: the bytes, then the name, then the folder
            os.fsync(file.fileno())
            self.part.rename(path)
            sync_folder(self.folder)
        except OSError as error:
            raise whose_fault(error, self.folder.parent, what=f"cannot write {path}") from error
        return path

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self.part.unlink(missing_ok=True)


def completed(folder: Path, stem: str) -> list[Path]:
    """Return the bodies that a killed process completed for a tick; delete the files that it did not complete."""
    left = [path for path in sorted(folder.iterdir()) if path.name.startswith(stem)] if folder.is_dir() else []
    whole = [path for path in left if path.name.startswith(f"{stem}-")]
    for path in left:
        if path not in whole:
            path.unlink(missing_ok=True)
    return whole
