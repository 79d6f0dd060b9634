"""GraphiQL from files of this package: pinned copies of npm packages (assets/bundled.json), no other host."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from economy.errors import SetupError

ASSETS: Final = Path(__file__).parent / "assets"
OWN: Final = ("start.js", "page.css")
MEDIA: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
# GraphiQL's editor sets styles of elements from its scripts; scripts themselves come from files alone.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def bundled() -> list[dict[str, str]]:
    """The copies: file, package, version, path in the package, licence, sha256."""
    found: list[dict[str, str]] = json.loads((ASSETS / "bundled.json").read_text())
    return found


def examples(run: int = 1) -> list[dict[str, Any]]:
    """Ready queries, GraphiQL's first tabs; $run is filled in."""
    found = []
    for path in sorted((ASSETS / "examples").glob("*.graphql")):
        query = path.read_text()
        found.append({"query": query, "variables": f'{{ "run": "{run}" }}' if "$run" in query else ""})
    return found


def routes(newest: Callable[[], int]) -> list[Route]:
    """The page, its assets and the examples over the `newest` run. Raises SetupError when a pinned copy was changed."""
    bodies = {name: (ASSETS / name).read_bytes() for name in OWN}
    for entry in bundled():
        body = (ASSETS / entry["file"]).read_bytes()
        if hashlib.sha256(body).hexdigest() != entry["sha256"]:
            raise SetupError(f"{ASSETS / entry['file']} was changed", f"copy it from npm {entry['package']} again")
        bodies[entry["file"]] = body
    page = (ASSETS / "page.html").read_bytes()

    async def show(_: Request) -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def example_tabs(_: Request) -> Response:
        run = await asyncio.to_thread(newest)
        return Response(json.dumps(examples(run)), media_type="application/json")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in bodies:
            return Response("no such file", 404, media_type="text/plain")
        headers = {"Cache-Control": "max-age=3600"}
        return Response(bodies[name], media_type=MEDIA[Path(name).suffix], headers=headers)

    return [
        Route("/graphiql", show),
        Route("/graphiql/examples.json", example_tabs),
        Route("/graphiql/{name}", asset),
    ]
