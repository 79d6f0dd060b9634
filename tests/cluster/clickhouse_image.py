"""What stands for clickhouse-server: `python -m tests.cluster.clickhouse_image`.

The embedded ClickHouse listens on loopback and answers to no other name, so a forwarder stands before it on the
container's address. Users are the image's: one from the variables, the others from /etc/clickhouse-server/users.d.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PORT: Final = 8123
_USERS: Final = Path("/etc/clickhouse-server/users.d")
_BLANK: Final = b"\r\n\r\n"
_HEAD_BYTES: Final = 1 << 16


def passwords_of(environment: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """Passwords by user. Raises ValueError for a user of a file who could write, or has no password from a variable."""
    found = {environment["CLICKHOUSE_USER"]: environment["CLICKHOUSE_PASSWORD"]}
    for name, text in files.items():
        root = ET.fromstring(text)
        for user in root.findall("users/*"):
            password = user.find("password")
            profile = root.find(f"profiles/{user.findtext('profile')}")
            if password is None or "from_env" not in password.attrib:
                raise ValueError(f"{name}: {user.tag} has no password from_env")
            if profile is None or profile.findtext("readonly") != "2":
                raise ValueError(f"{name}: the profile of {user.tag} is not readonly = 2")
            found[user.tag] = environment[password.attrib["from_env"]]
    return found


def last(head: bytes, *further: bytes) -> bytes:
    """The head of a request or an answer that is the last one on its connection, with further lines."""
    head = re.sub(rb"(?im)^(host|connection):[^\r\n]*\r\n", b"", head)
    first, _, rest = head.partition(b"\r\n")
    return b"\r\n".join([first, *further, b"Connection: close", rest])


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    inner: asyncio.StreamWriter | None = None
    try:
        head = await reader.readuntil(_BLANK)
        back, inner = await asyncio.open_connection("127.0.0.1", _PORT)
        inner.write(last(head, b"Host: 127.0.0.1:%d" % _PORT))
        sending = asyncio.ensure_future(_copy(reader, inner))
        writer.write(last(await back.readuntil(_BLANK)))
        await _copy(back, writer)
        sending.cancel()
    except (OSError, asyncio.IncompleteReadError):
        pass  # one side is gone, and so is the other: its client sees a closed connection
    finally:
        for each in (writer, inner):
            if each is not None:
                each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_HEAD_BYTES):
        writer.write(piece)
        await writer.drain()


async def _serve() -> int:
    files = {path.name: path.read_text() for path in sorted(_USERS.glob("*.xml"))}
    data = Path("/var/lib/clickhouse/embedded")
    data.mkdir(parents=True, exist_ok=True)
    (data / "passwords.json").write_text(json.dumps(passwords_of(os.environ, files)))
    command = [sys.executable, "-m", "infra.clickhouse", "--data", str(data), "--port", str(_PORT)]
    engine = await asyncio.create_subprocess_exec(*command)
    own = socket.gethostbyname(socket.gethostname())
    async with await asyncio.start_server(_forward, own, _PORT, limit=_HEAD_BYTES):
        return await engine.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve()))
