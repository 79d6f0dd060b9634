"""The images that docker-compose.yml names, as they are here: our own from the Dockerfile, the others by stand-ins."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings
from tests.cluster.variables import ComposeError

ROOT: Final = Path(__file__).parents[2]
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CACHE: Final = "ESCAPE_CACHE"


@dataclass(frozen=True)
class Image:
    """What a container has before compose says anything."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    workdir: str = "/"
    binds: Mapping[str, Path] = field(default_factory=dict)


def dockerfile_environment(text: str) -> dict[str, str]:
    """The variables that a Dockerfile's ENV lines set, each seeing those before it."""
    found = {"PATH": _PATH}
    for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE):
        for word in shlex.split(line):
            name, _, value = word.partition("=")
            found[name] = re.sub(r"\$\{?(\w+)\}?", lambda match: found.get(match[1], ""), value)
    return found


@cache
def image_of(name: str) -> Image:
    """The image of that name, whatever its tag or digest. Raises ComposeError for one that has no stand-in."""
    settings = load_settings()
    java = java_home(settings.java_home, settings.cache_folder)
    mine = {str(ROOT): ROOT, "/app": ROOT, sys.base_prefix: Path(sys.base_prefix)}
    base = re.split(r"[:@]", name)[0]
    if base == "escapecapitalism":
        environment = dockerfile_environment((ROOT / "Dockerfile").read_text())
        where = environment[_CACHE]
        environment = environment | {"JAVA_HOME": str(java), "HOME": "/root"}
        return Image((), environment, "/app", mine | {where: settings.cache_folder})
    environment = {"PATH": f"{ROOT / '.venv' / 'bin'}:{_PATH}", "JAVA_HOME": str(java), "HOME": "/root"}
    if base == "apache/kafka":
        environment |= {"JAVA_CLASSPATH": broker_classpath(settings.cache_folder, java)}
        return Image((sys.executable, "-m", "tests.cluster.kafka_image"), environment, str(ROOT), mine)
    if base == "clickhouse/clickhouse-server":
        return Image((sys.executable, "-m", "tests.cluster.clickhouse_image"), environment, str(ROOT), mine)
    raise ComposeError(f"nothing stands here for the image {name}")


def visible(image: Image) -> Mapping[str, Path]:
    """The binds, those of this machine that are symbolic links resolved."""
    return {path: Path(os.path.realpath(source)) for path, source in image.binds.items()}
