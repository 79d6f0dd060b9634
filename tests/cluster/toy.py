"""Three small containers that show what engine.py does: `python -m tests.cluster.toy FOLDER`, inside `contained`."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path
from typing import Final

from tests.cluster.composefile import read_project
from tests.cluster.engine import Engine, EngineError

_FILE: Final = """
name: toy
services:
  first:
    image: escapecapitalism
    restart: "no"
    command: [sh, -c, 'cat /run/secrets/s > /data/told; echo "$$A" >> /data/told']
    environment: {A: "one  two"}
    secrets: [s]
    volumes: ["v:/data"]
  web:
    image: escapecapitalism
    restart: unless-stopped
    init: true
    command: [python, -m, http.server, --directory, /data, "8000"]
    volumes: ["v:/data:ro"]
    depends_on: {first: {condition: service_completed_successfully}}
    healthcheck:
      test: [CMD, python, -c, "import urllib.request as u; u.urlopen('http://web:8000/told', timeout=3)"]
      interval: 1s
    ports: ["127.0.0.1:8000:8000"]
  client:
    image: escapecapitalism
    restart: unless-stopped
    command: [sleep, "1000"]
    init: true
    depends_on: {web: {condition: service_healthy}}
volumes: {v: {}}
secrets: {s: {environment: SECRET}}
"""
_READ: Final = "import urllib.request as u; print(u.urlopen('http://web:8000/told').read())"
_ALONE: Final = (
    "import os; print(sorted(os.listdir('/data')), len([p for p in os.listdir('/proc') if p.isdigit()]) < 9)"
)
_NO_WAY_OUT: Final = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
_SECONDS: Final = 60.0


def main(folder: Path) -> None:
    """Print what the containers see, one line each."""
    file = folder / "toy.yml"
    file.write_text(_FILE)
    with Engine(read_project([file], {"SECRET": "secret "}), folder / "containers", folder) as engine:
        engine.up(_SECONDS)
        print("published", urllib.request.urlopen("http://127.0.0.1:8000/told").read())
        print("by name", engine.execute("client", ["python", "-c", _READ]).strip())
        engine.execute("client", ["touch", "/data/mine"])
        print("alone", engine.execute("client", ["python", "-c", _ALONE]).strip())
        print("named", engine.execute("client", ["hostname"]).strip(), engine.execute("client", ["pwd"]).strip())
        for command in (["touch", "/data/read-only"], ["python", "-c", _NO_WAY_OUT]):
            try:
                engine.execute("web", command)
            except EngineError as error:
                print("refused", str(error).splitlines()[-1])
        engine.kill("web")
        engine.until(lambda: engine.restarts["web"] == 1 and engine.there("web"), _SECONDS)
        print("again", urllib.request.urlopen("http://127.0.0.1:8000/told").read())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
