"""The checksums of an archive that was copied without them: torch computes them slower than it copies."""

import struct
import zipfile
import zlib
from mmap import mmap

LOCAL_HEADER = 30
"""Size in bytes of what stands before each part, but for its name."""
_DIRECTORY_ENTRY = 46
_HAS_DESCRIPTOR = 0x08
"""The flag of a part whose checksum follows its content."""


def content_offset(header: bytes, part: zipfile.ZipInfo) -> int:
    """Where the content of a part begins in the archive, bytes; `header` stands before it.

    Raises:
        zipfile.BadZipFile: the header is cut off.
    """
    if len(header) < LOCAL_HEADER:
        raise zipfile.BadZipFile(f"{part.filename} lies beyond the end")
    name, extra = struct.unpack_from("<HH", header, 26)
    return part.header_offset + LOCAL_HEADER + int(name) + int(extra)


def fill_in_checksums(archive: mmap) -> None:
    """Compute the CRC-32 of each part of an uncompressed zip archive, and enter it wherever it belongs."""
    with zipfile.ZipFile(archive) as content:  # type: ignore[call-overload]
        parts, entry = content.infolist(), content.start_dir
    for part in parts:
        start = content_offset(archive[part.header_offset : part.header_offset + LOCAL_HEADER], part)
        end = start + part.file_size
        with memoryview(archive) as whole, whole[start:end] as data:
            checksum = struct.pack("<I", zlib.crc32(data))
        if not part.flag_bits & _HAS_DESCRIPTOR:
            archive[part.header_offset + 14 : part.header_offset + 18] = checksum
        else:
            assert archive[end : end + 4] == b"PK\x07\x08", f"{part.filename} is not stored as torch does"
            archive[end + 4 : end + 8] = checksum
        archive[entry + 16 : entry + 20] = checksum
        entry += _DIRECTORY_ENTRY + sum(struct.unpack_from("<HHH", archive, entry + 28))
