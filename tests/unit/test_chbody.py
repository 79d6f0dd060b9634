"""How the embedded ClickHouse finds the end of a body: as RFC 9112 has it, and no other way."""

from __future__ import annotations

import io
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chbody import pieces
from infra.chguard import RefusedError


def head(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


CHUNKED = head(("Transfer-Encoding", "chunked"))


def read(sent: bytes, headers: Message = CHUNKED) -> bytes:
    return b"".join(pieces(io.BytesIO(sent), headers))


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.sampled_from([b"%x", b"%X", b"00%x"]))
def test_a_chunked_body_is_what_its_chunks_are(chunks: list[bytes], form: bytes) -> None:
    sent = b"".join(form % len(chunk) + b"\r\n" + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
    assert read(sent) == b"".join(chunks)
    for cut in range(len(sent) - 2):
        with pytest.raises(RefusedError):
            read(sent[:cut])


@pytest.mark.parametrize(
    "size",
    ["-1", "+1", "0x1", "1_0", " 1", "1 ", "", "g", "1 1", "1\t", "٣", "-0", "+0", "0x0", "1\n", "1" * 16, "1;\n"],
)
def test_a_size_is_hexadecimal_digits_alone(size: str) -> None:
    with pytest.raises(RefusedError, match="chunked body"):
        read(size.encode() + b"\r\n" + b"x" * 32 + b"\r\n0\r\n\r\n")


def test_extensions_and_trailers_are_passed_over() -> None:
    assert read(b'2;a="b"\r\nxy\r\n0 ;c\r\nname: value\r\n\r\n') == b"xy"


@pytest.mark.parametrize(
    "fields",
    [
        (("Transfer-Encoding", "chunked"), ("Content-Length", "3")),
        (("Transfer-Encoding", "gzip, chunked"),),
        (("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")),
        (("Transfer-Encoding", "xchunked"),),
        (("Content-Length", "3"), ("Content-Length", "4")),
        *[(("Content-Length", length),) for length in ("-1", "+3", "3.0", "0x3", " 3", "", "3, 3", "9" * 5000)],
    ],
)
def test_a_body_whose_end_is_not_certain_is_refused(fields: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(RefusedError):
        read(b"3\r\nabc\r\n0\r\n\r\n", head(*fields))


def test_a_length_is_kept_to() -> None:
    assert read(b"abcdef", head(("Content-Length", "3"))) == b"abc"
    assert read(b"abc", head()) == b""
    with pytest.raises(RefusedError, match="2 bytes are missing"):
        read(b"a", head(("Content-Length", "3"), ("Content-Length", "3")))
