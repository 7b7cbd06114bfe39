"""Read and write the PNG files of this example. For pictures of a real camera use a library such as Pillow."""

import struct
import zlib

import numpy as np


def write(path, pixels):
    """Write pixels (rows x columns x 3) as a PNG file."""
    height, width, _ = pixels.shape
    lines = np.insert(pixels.reshape(height, width * 3), 0, 0, axis=1)  # each line begins with its filter: none
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(lines.astype(np.uint8).tobytes(), 9),
        b"IEND": b"",
    }
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def read(path):
    """Return the pixels of a PNG file that `write` made."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    start = content.index(b"IDAT")
    (size,) = struct.unpack(">I", content[start - 4 : start])
    lines = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + size]), np.uint8)
    return lines.reshape(height, 1 + width * 3)[:, 1:].reshape(height, width, 3)
