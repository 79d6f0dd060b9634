"""The exception tree of the whole project: every error that a user can cause or meet derives from EscapeError."""

from __future__ import annotations


class EscapeError(Exception):
    """Base of all our errors: what is wrong, and what to do about it.

    `exit_code` is what the command line returns; see docs/exit-codes.md.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


class InputError(EscapeError):
    """A value given by the user is wrong; names the field, the value and the remedy."""

    exit_code = 2

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field} = {value!r} is not valid", remedy)
        self.field = field
        self.value = value


class ScenarioError(InputError):
    """A scenario has an unknown key, a wrong type or a value out of range."""


class UnknownRunError(InputError):
    """No run with this id is on the log."""


class SetupError(EscapeError):
    """Something that the program needs (Java, broker, disk, port) is missing or cannot be reached."""

    exit_code = 3


class InterruptionError(SetupError):
    """What a run needs is away: the run stays open on the log and goes on where it is once that is mended."""


class ProtocolError(EscapeError):
    """The log contradicts the protocol: a gap, a foreign record, a broken count."""

    exit_code = 4


class NonDeterministicError(ProtocolError):
    """Two records with one identity differ: the same run was computed twice with different results."""


class AccountingError(EscapeError):
    """A conservation law of the books is broken."""

    exit_code = 5
