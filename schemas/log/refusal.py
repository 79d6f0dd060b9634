"""What a broker refuses for good: whoever may not, or is not who he says, is told so at once and not asked again."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from economy.errors import SetupError

# Codes of Kafka's protocol, and librdkafka's own for a login that failed.
_DENIED: Final = {
    29: "this user may not use the topic",
    30: "this user may not use the consumer group",
    31: "this user may not do this to the cluster",
    33: "the broker offers no such way to log in",
    34: "the broker expects another step of the login",
    53: "this user may not use the transaction",
    58: "user or password is wrong",
    65: "this user may not use the delegation token",
    KafkaError._AUTHENTICATION: "user or password is wrong",
}


class RefusedError(SetupError):
    """The broker knows who asks, or does not, and refuses: only another user, password or permission helps."""


def denied(code: int) -> bool:
    """Whether asking again cannot help."""
    return code in _DENIED


def refusal(what: str, code: int) -> RefusedError:
    """The error for a denial."""
    return RefusedError(f"{what}: {_DENIED[code]} (Kafka's error {code})", "correct user, password or permissions")


def check(what: str, error: KafkaError | KafkaException) -> None:
    """Raise RefusedError when librdkafka's error is a denial."""
    code = (error.args[0] if isinstance(error, KafkaException) else error).code()
    if denied(code):
        raise refusal(what, code) from (error if isinstance(error, KafkaException) else None)
