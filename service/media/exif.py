"""The one fact in EXIF that an image needs."""

import struct

_ORIENTATION = 0x0112
_TYPES = {3: "H", 4: "I"}  # SHORT, as the standard has it, and LONG, as some programs write it
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
            place = start + 2 + 12 * entry
            tag, kind = struct.unpack_from(f"{order}HH", tiff, place)
            if tag == _ORIENTATION and kind in _TYPES:
                return int(struct.unpack_from(order + _TYPES[kind], tiff, place + 8)[0])
    except struct.error:
        return 1
    return 1
