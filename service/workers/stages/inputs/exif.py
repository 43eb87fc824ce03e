"""The one fact in EXIF that a picture needs."""

import struct

_ORIENTATION, _SHORT = 0x0112, 3
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}


def orientation(exif: bytes) -> int:
    """2 to 8 for the ways to be turned; 1, or a number of no meaning, when it stands upright."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(entries):
            found = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if found[:2] == (_ORIENTATION, _SHORT):
                return int(found[3])
    except struct.error:
        return 1
    return 1
