"""Read the orientation from EXIF."""

import struct

_ORIENTATION = 0x0112
_TYPES = {3: "H", 4: "I"}  # SHORT, per the standard, and LONG, which some programs write
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}


def read_orientation(exif: bytes) -> int:
    """Return the orientation; all but 2 to 8 mean upright."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(entries):
            offset = start + 2 + 12 * entry
            tag, kind = struct.unpack_from(f"{order}HH", tiff, offset)
            if tag == _ORIENTATION and kind in _TYPES:
                return int(struct.unpack_from(order + _TYPES[kind], tiff, offset + 8)[0])
    except struct.error:
        return 1
    return 1
