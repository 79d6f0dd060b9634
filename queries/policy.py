"""What a caller may see: the one place that decides it, and all that copies, memory and answers are kept by.

Today everybody who reaches the server may see all of it, so there is one scope. What a caller merely says of himself,
as an Authorization header that nobody has checked, grants nothing and is no part of any key: otherwise each invented
value would cost a copy of a run, and each renewed token everything that is known.
"""

from __future__ import annotations

from typing import Final, NewType

from starlette.requests import HTTPConnection

Scope = NewType("Scope", str)
EVERYTHING: Final = Scope("everything")


def scope_of(request: HTTPConnection) -> Scope:
    """The scope of a request or of a websocket: callers with equal scopes see the same, whoever they are."""
    del request  # nothing in it is checked yet
    return EVERYTHING
