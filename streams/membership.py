"""What aiokafka knows and Faust does not ask: that the group refuses us, or that a task in the background has ended.

Faust reads what was fetched past the place where aiokafka raises such errors: a worker whose group refuses it would
stay up and do nothing. These are private names, hence `check`, which fails when they moved.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError, InvalidSessionTimeoutError, TopicAuthorizationFailedError
from aiokafka.producer.producer import AIOKafkaProducer
from aiokafka.producer.sender import Sender

from economy.errors import SetupError

_CONSUMER_TASKS: Final = {
    "coordinator": ("_coordinator", "_coordination_task"),
    "fetcher": ("_fetcher", "_fetch_task"),
    "consumer's metadata": ("_client", "_sync_task"),
}
_PRODUCER_TASKS: Final = {"sender": ("_sender", "_sender_task"), "producer's metadata": ("client", "_sync_task")}
_REMEDIES: Final = {
    InvalidSessionTimeoutError: "give it a --session-timeout that the broker's group.min.session.timeout.ms and "
    "group.max.session.timeout.ms allow",
    GroupAuthorizationFailedError: "let its user read the group",
    TopicAuthorizationFailedError: "let its user read the topic",
}
_OTHERWISE: Final = "see the broker's log"


def check() -> None:
    """Raise SetupError when aiokafka does not keep these things where they are looked for."""
    kept = {
        AIOKafkaConsumer: ("_coordinator", "_fetcher", "_client", "_subscription"),
        AIOKafkaProducer: ("_sender", "client"),
        GroupCoordinator: ("_coordination_task", "_pending_exception", "need_rejoin"),
        Fetcher: ("_fetch_task",),
        Sender: ("_sender_task",),
        AIOKafkaClient: ("_sync_task",),
    }
    for kind, names in kept.items():
        source = inspect.getsource(kind)
        if not all(f"self.{name}" in source or f"def {name}(" in source for name in names):
            raise SetupError(f"aiokafka's {kind.__name__} has changed", "install the locked version of aiokafka")


def fault(consumer: Any, producer: Any) -> SetupError | None:
    """Why a worker with these clients of aiokafka cannot go on; None when it can. May be asked by any thread.

    A client that has not finished its start lacks some of what it is made of.
    """
    if consumer is not None:
        group = consumer._coordinator
        if group is not None and group._pending_exception is not None:
            return told(f"the group {group.group_id} refuses this worker", group._pending_exception)
        denied = consumer._client.cluster.unauthorized_topics & consumer._subscription.topics
        if denied:
            return told(f"the broker hides {', '.join(sorted(denied))}", TopicAuthorizationFailedError(*denied))
    for client, tasks in ((consumer, _CONSUMER_TASKS), (producer, _PRODUCER_TASKS)):
        for name, (owner, task) in tasks.items():
            part = getattr(client, owner) if client is not None else None
            found = getattr(part, task) if part is not None else None
            if found is not None and found.done():
                why = RuntimeError("cancelled") if found.cancelled() else found.exception()
                return told(f"the {name} of the client of Kafka has ended", why)
    return None


def told(what: str, why: BaseException | None) -> SetupError:
    """An error of aiokafka with what to do about it."""
    remedy = next((remedy for kind, remedy in _REMEDIES.items() if isinstance(why, kind)), _OTHERWISE)
    return SetupError(f"{what}: {why!r}", remedy)


def belongs(consumer: Any) -> bool:
    """True for a consumer that has a place in the present generation of its group."""
    group, subscription = consumer._coordinator, consumer._subscription.subscription
    return group is not None and subscription is not None and not group.need_rejoin(subscription)
