"""The ClickHouse server: where it is, its password, and the client of everything that reads or writes tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from economy.errors import InputError, SetupError

PASSWORD: Final = "CLICKHOUSE_PASSWORD"  # variable: passwords never stand in arguments, which every user can see
PASSWORD_FILE: Final = "CLICKHOUSE_PASSWORD_FILE"  # variable: a file with the password, before the variable itself
# ClickHouse's codes of a wrong user or password, and of what a user may not do.
_DENIED: Final = frozenset((192, 193, 194, 195, 291, 492, 497, 516))
_WRITTEN: Final = "write it as http://user@host:port/database"


@dataclass(frozen=True)
class ClickHouseConfig:
    """A ClickHouse server: HTTP address, user, password, database."""

    url: str
    user: str = "escape"
    password: str = ""
    database: str = "escape"

    @classmethod
    def from_dsn(cls, dsn: str, environment: Mapping[str, str] = os.environ) -> ClickHouseConfig:
        """Read `http[s]://user:password@host:port/database`; a password that is not in it is the environment's.

        Raises InputError without showing the password.
        """
        parts = urlsplit(dsn)
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        try:
            port = parts.port
        except ValueError as error:
            raise InputError("clickhouse_url", shown, _WRITTEN) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("clickhouse_url", shown, _WRITTEN)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            f"{parts.scheme}://{host}:{port or (8443 if parts.scheme == 'https' else 8123)}",
            unquote(parts.username or "default"),
            unquote(parts.password or "") or _password(environment),
            parts.path.strip("/") or "escape",
        )

    @property
    def address(self) -> str:
        """What `from_dsn` reads, without the password: fit for arguments."""
        scheme, _, place = self.url.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}@{place}/{self.database}"

    @property
    def dsn(self) -> str:
        """What `from_dsn` reads, with the password: a secret."""
        scheme, _, place = self.url.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{place}/{self.database}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a child process that is told `address` gets the password."""
        return {PASSWORD: self.password, PASSWORD_FILE: ""}

    def __repr__(self) -> str:
        return f"ClickHouseConfig({self.url!r}, {self.user!r}, '***', {self.database!r})"


def _password(environment: Mapping[str, str]) -> str:
    named = environment.get(PASSWORD_FILE)
    if not named:
        return environment.get(PASSWORD, "")
    try:
        return Path(named).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(PASSWORD_FILE, named, f"the password cannot be read from it: {error}") from error


class DeniedError(SetupError):
    """ClickHouse refuses who asks: only another user, password or grant helps, asking again does not."""


def denied(error: BaseException) -> bool:
    """Whether ClickHouse said no to who asks, not to what is asked."""
    return getattr(error, "code", None) in _DENIED


def denial(config: ClickHouseConfig, error: BaseException) -> DeniedError:
    """The error for a denial."""
    return DeniedError(
        f"ClickHouse at {config.url} refuses the user {config.user}: {first_line(error)}", "check user and password"
    )


def connect(config: ClickHouseConfig, database: str | None = None) -> Any:
    """A client of clickhouse-connect, one for each thread. `database` "" is for statements that name theirs.

    Raises SetupError when the server does not answer, or refuses; DeniedError when it refuses the user.
    """
    # Not with the module: it takes half a second, and whoever only needs an address would pay for it.
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import Error, OperationalError

    parts = urlsplit(config.url)
    try:
        return clickhouse_connect.get_client(
            host=parts.hostname,
            port=parts.port,
            secure=parts.scheme == "https",
            username=config.user,
            password=config.password,
            database=config.database if database is None else database,
            autogenerate_session_id=False,
            connect_timeout=5,
            send_receive_timeout=300,
        )
    except (Error, OSError) as error:
        if denied(error):
            raise denial(config, error) from error
        if isinstance(error, Error) and not isinstance(error, OperationalError):
            raise SetupError(
                f"ClickHouse at {config.url} refuses: {first_line(error)}", "check user, password and database"
            ) from error
        raise SetupError(
            f"ClickHouse at {config.url} does not answer", "start it with `escape up`, or set clickhouse_url"
        ) from error


def first_line(error: BaseException) -> str:
    """What ClickHouse said, without its address and version."""
    return str(error).splitlines()[0].split(" (for url")[0].split(" (version")[0]
