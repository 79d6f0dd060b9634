"""Subscriptions over websockets, protocol graphql-transport-ws: strawberry's handler, held to the protocol.

Decided here, before the library (its version is pinned) sees a message: one of another form than the protocol's, which
it takes in or fails on without a close frame; the payload null of a first message, which it closes for; JSON that
Python's parser gives up on; reasons that are too long for a close frame. And where a text is no GraphQL, it ends every
subscription of the socket instead of the one.
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from graphql import GraphQLError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import ASGIWebSocketAdapter, GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler

from queries.engine import Engine
from queries.paging import Context
from queries.policy import scope_of

log = logging.getLogger("escape.queries")

MOST: Final = 8  # operations on one websocket at once
INTERNAL: Final = 1011  # close code of an error of the server's own
_REASON: Final = 123  # bytes of a close frame's reason


# ---- what a client may send
class _Form(BaseModel):
    model_config = ConfigDict(strict=True)


class _Operation(_Form):
    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815  (the protocol's)
    extensions: dict[str, Any] | None = None


class _Signal(_Form):
    type: Literal["connection_init", "ping", "pong"]
    payload: dict[str, Any] | None = None


class _Subscribe(_Form):
    type: Literal["subscribe"]
    id: str = Field(min_length=1)
    payload: _Operation


class _Complete(_Form):
    type: Literal["complete"]
    id: str


_FORMS: Final[TypeAdapter[_Signal | _Subscribe | _Complete]] = TypeAdapter(
    Annotated[_Signal | _Subscribe | _Complete, Field(discriminator="type")]
)


def fault(message: Any) -> str | None:
    """What is wrong with the form of a message; None when it is one of the protocol's."""
    try:
        _FORMS.validate_python(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'message'}: {first['msg']}"
    return None


class _Socket(ASGIWebSocketAdapter):
    async def close(self, code: int, reason: str) -> None:
        """Close with as much of the reason as there is room for."""
        await super().close(code, reason.encode()[:_REASON].decode(errors="ignore"))


class Handler(BaseGraphQLTransportWSHandler[Context, None]):
    """One websocket."""

    async def handle_message(self, message: Any) -> None:
        """Act on a message, or close: 4400 for one that is none."""
        wrong = fault(message)
        if wrong is not None:
            await self.handle_invalid_message(wrong)
            return
        if message.get("payload") is None:  # the library tells null from absent
            message.pop("payload", None)
        if message["type"] == "subscribe":
            message["payload"]["operationName"] = message["payload"].get("operationName") or None
        try:
            await super().handle_message(message)
        except Exception:  # whatever it is: the client is told that it is not his fault, and the socket ends in order
            log.exception("a websocket's message was not handled")
            await self.websocket.close(INTERNAL, "internal error; its cause is in the server's log")

    @staticmethod
    def _get_pre_execution_close_reason(_: GraphQLError) -> str | None:
        """None: no error of one operation closes the socket of the others; it is answered under the operation's id."""
        return None


class Subscriptions(GraphQL[Context, None]):
    """Subscriptions alone: queries over HTTP have a way of their own, with the cache."""

    graphql_transport_ws_handler_class = Handler
    websocket_adapter_class = _Socket

    def __init__(self, engine: Engine, live: Any, first_message_seconds: float) -> None:
        self._engine = engine
        self._live = live
        super().__init__(
            engine.schema,
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=first_message_seconds),
            max_subscriptions_per_connection=MOST,
        )

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """What the operations of a websocket share."""
        return self._engine.context(scope_of(request), live=self._live)

    def decode_json(self, data: str | bytes) -> object:
        """As the library's, which does not expect numbers and depths that Python's parser gives up on."""
        try:
            return super().decode_json(data)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
