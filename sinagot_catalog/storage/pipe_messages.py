"""Pipe messages: sends and reads messages between processes, each a length and a pickle. Standard library only."""

import os
import struct
import sys
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct("<Q")
_LONGEST = 1 << 36
"""Bytes: a larger length shows that the other side does not speak this protocol."""


def write_message(fd: int, message: object) -> None:
    """Send one message whole."""
    import pickle  # only a long listing sends messages

    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    view = memoryview(_LENGTH.pack(len(body)) + body)
    while view:
        view = view[os.write(fd, view) :]


def read_message(fd: int) -> Any:
    """Wait for one message.

    Raises:
        EOFError: When the other side is gone.
        ValueError: When it is no message of this protocol.
    """
    import pickle

    (length,) = _LENGTH.unpack(_read_exactly(fd, _LENGTH.size))
    if length > _LONGEST:
        raise ValueError("this is not a message")
    return pickle.loads(_read_exactly(fd, length))  # noqa: S301 the other side is this library, too


def _read_exactly(fd: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(fd, min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def serve() -> None:
    """Be a helper: receive a function, then call it with each message, until the parent process is gone."""
    into, out = os.dup(0), os.dup(1)
    try:
        encoding, function = read_message(into)
        is_alike = encoding == sys.getfilesystemencoding()  # else names would be decoded differently
        write_message(out, is_alike)
        while is_alike:
            work = read_message(into)
            result = None
            with suppress(Exception):  # the parent does the work again and meets the same error
                result = function(work)
            write_message(out, result)
    except (OSError, EOFError):
        os._exit(0)
