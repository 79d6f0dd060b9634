"""GraphQL over HTTP, as its specification has it: which requests are well-formed, media type and status of answers."""

from __future__ import annotations

import json
from typing import Final

from starlette.requests import ClientDisconnect, Request

from queries.engine import Answer, Asked, refusal
from queries.limits import BODY_BYTES
from queries.policy import scope_of

JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"


def media_type(accept: str) -> str:
    """The type of an answer: the one of GraphQL where it is accepted no less than JSON, else JSON."""
    if GRAPHQL not in accept:
        return JSON
    weights: dict[str, float] = {}
    for one in accept.split(","):
        name, *parameters = (part.strip().lower() for part in one.split(";"))
        told = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        weights[name] = float(told) if told.replace(".", "", 1).isdecimal() else 0.0
    return GRAPHQL if weights.get(GRAPHQL, 0.0) >= max(weights.get(JSON, 0.0), 1e-3) else JSON


def status_of(answer: Answer, media: str) -> int:
    """The status of an answer. As application/json it is 200 also where there are errors alone."""
    return 400 if answer.status == 200 and media == GRAPHQL and not answer.data else answer.status


async def asked_of(request: Request) -> Asked | Answer:
    """The operation that a request asks for, or why it is none.

    Any content type but JSON is refused: no form of another site gets here.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        return refusal(415, "send application/json")
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES:
                return refusal(413, f"send at most {BODY_BYTES} bytes")
    except ClientDisconnect:  # he is gone, or was too slow and has been told
        return refusal(408, "the body did not come whole")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return refusal(400, "the body is not JSON")
    if not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
        return refusal(400, 'send {"query": "...", "variables": {...}, "operationName": "..."}')
    variables, name = asked.get("variables"), asked.get("operationName")
    if not isinstance(variables, dict | None) or not isinstance(name, str | None):
        return refusal(400, "variables must be an object and operationName a string")
    return Asked(asked["query"], variables, name or None, scope_of(request))
