"""Pack lines so that a file of several such packs is readable at any time."""

from __future__ import annotations

import zlib

_LEVEL = 6
_ZSTD_LEVEL = 6


def pack(data: bytes, form: str) -> bytes:
    """Return one gzip member (`gz`) or one zstd frame (`zst`). Source: RFC 1952, RFC 8878."""
    if form == "gz":
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
        return packer.compress(data) + packer.flush()
    # imported only where it is used: the module takes a megabyte
    from aggregator.files.zstd import CompressionParameter, ZstdCompressor

    options: dict[int, int] = {
        CompressionParameter.compression_level: _ZSTD_LEVEL,
        CompressionParameter.checksum_flag: 1,
    }
    return bytes(ZstdCompressor(options=options).compress(data, ZstdCompressor.FLUSH_FRAME))
