"""What a process of ours is told: each declares its settings once, as a model, which also builds its command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, CliSettingsSource, NoDecode, SettingsConfigDict

from economy.errors import EscapeError, InputError
from telemetry import logs
from telemetry.logs import Format, Level, LogOptions

PREFIX: Final = "ESCAPE_"  # a variable that the deployment's settings have as well means the same
SEPARATOR: Final = ","


def _several(given: Any) -> Any:
    """A variable holds several names with separators between them, a file a list."""
    return tuple(name.strip() for name in given.split(SEPARATOR) if name.strip()) if isinstance(given, str) else given


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_several)]
_POSITIONAL: Final = get_args(CliPositionalArg)[1]


class ProcessSettings(BaseSettings):
    """Settings of one process: flags over ESCAPE_* variables over defaults.

    Passwords are no settings: they would stand in the list of processes. They come by environment or file.
    """

    MODULE: ClassVar[str]  # after `python -m`; a second word tells services of one module apart
    SERVICE: ClassVar[str]  # in its log
    QUIET: ClassVar[Mapping[str, Level]] = {}  # least level of libraries that tell too much
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", cli_kebab_case=True, cli_implicit_flags=True,
        cli_hide_none_type=True, cli_avoid_json=True, cli_ignore_unknown_args=False,
    )  # fmt: skip

    log_folder: Path | None = Field(default=None, description="folder of its log; without one it goes to stderr")
    log_name: str = Field(default="", description="name of its log in that folder; default: that of the service")
    log_format: Format = Field(default="text", description="of what goes to stderr; files hold JSON lines")
    log_level: Level = Field(default="INFO", description="least level that is logged")

    def log(self) -> LogOptions:
        """How the process logs."""
        return LogOptions(self.SERVICE, self.log_folder, self.log_name, self.log_format, self.log_level)

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> Self:
        """Read the flags, by default this process's own, and the environment.

        Raises InputError that names the flag; ends the process with 2 for flags that do not exist, with 0 after --help.
        """
        given = list(sys.argv[1:] if arguments is None else arguments)
        for word in given:
            _refuse_password(word)
        flags: CliSettingsSource[Any] = CliSettingsSource(cls, cli_prog_name=f"python -m {cls.MODULE}")
        try:
            return CliApp.run(cls, given, flags)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else cls.MODULE
            remedy = f"{first['msg'].lower()}; `python -m {cls.MODULE} --help` tells all"
            value = None if first["type"] == "missing" else first["input"]
            raise InputError(f"--{name.replace('_', '-')}", value, remedy) from error

    def arguments(self) -> list[str]:
        """Flags that `parse` reads as this model, whatever the environment says: defaults are written too."""
        positional, flags = [], []
        for name, field in type(self).model_fields.items():
            value, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            if _POSITIONAL in field.metadata:
                positional.append(str(value))
            elif isinstance(value, bool):
                flags.append(flag if value else f"--no-{flag[2:]}")
            elif isinstance(value, tuple):
                flags += [f"{flag}={one}" for one in value]
            elif value is not None:
                flags.append(f"{flag}={value}")
        return positional + flags

    def command(self) -> list[str]:
        """The command line that starts the process."""
        return [sys.executable, "-m", *self.MODULE.split(), *self.arguments()]


Chosen = TypeVar("Chosen", bound=ProcessSettings)


def run_process(settings: type[Chosen], body: Callable[[Chosen], None], arguments: Sequence[str] | None = None) -> int:
    """Run a process with its settings and its log; returns its exit code.

    What the body raises of our errors is one line on stderr.
    """
    try:
        chosen = settings.parse(arguments)
        logs.start(chosen.log(), settings.QUIET)
        body(chosen)
    except EscapeError as error:
        logs.note(str(error))
        print(f"escape: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def variables(*models: type[ProcessSettings]) -> set[str]:
    """Names of the variables that processes read."""
    return {PREFIX + name.upper() for model in models for name in model.model_fields}


def _refuse_password(word: str) -> None:
    try:
        told = urlsplit(word.partition("=")[2] if word.startswith("--") else word).password
    except ValueError:  # no address at all
        return
    if told:
        raise InputError(
            word.partition("=")[0] if word.startswith("--") else "argument", "***",
            "every user of the machine sees arguments: give the password in CLICKHOUSE_PASSWORD, or the file that "
            "CLICKHOUSE_PASSWORD_FILE names",
        )  # fmt: skip
