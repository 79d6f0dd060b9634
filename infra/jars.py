"""Jars of the broker and of Spark's connectors: fetched once by pyspark's own resolver, checked against jars.lock."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from economy.errors import SetupError

LOCK = Path(__file__).parent / "jars.lock"
# What pyspark ships and the broker needs as well; log4j and slf4j give the broker a log.
_FROM_PYSPARK = ("scala-library-", "slf4j-api-", "log4j-api-", "log4j-core-", "log4j-slf4j2-impl-")


@cache
def locked() -> dict[str, dict[str, Any]]:
    """Per set (broker, spark): coordinates, and file name -> SHA-256. The sets need different kafka-clients."""
    loaded: dict[str, dict[str, Any]] = json.loads(LOCK.read_text())
    return loaded


def spark_home() -> Path:
    """Folder of the installed pyspark, without importing it."""
    from importlib.util import find_spec

    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SetupError("pyspark is not installed", "run `make setup`")
    return Path(spec.origin).parent


def _wrong(folder: Path, files: dict[str, str]) -> list[str]:
    return [
        name
        for name, digest in files.items()
        if not (folder / name).is_file() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]


def folder_of(name: str, cache_folder: Path) -> Path:
    """Where a set lies; its name changes with the lock, so that an old set is never mistaken for it."""
    digest = hashlib.sha256(json.dumps(locked()[name], sort_keys=True).encode()).hexdigest()[:12]
    return cache_folder / "jars" / f"{name}-{digest}"


def present(name: str, cache_folder: Path) -> bool:
    """True when the set is complete (by name; contents were checked when it was fetched)."""
    folder = folder_of(name, cache_folder)
    return all((folder / file).is_file() for file in locked()[name]["files"])


def fetch(name: str, cache_folder: Path, home: Path) -> list[Path]:
    """The set's files, fetched when missing. Raises SetupError when they cannot be had or differ from the lock."""
    files: dict[str, str] = locked()[name]["files"]
    folder = folder_of(name, cache_folder)
    if not present(name, cache_folder):
        cache_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder, prefix="fetch-") as scratch:
            _resolve(locked()[name]["coordinates"], Path(scratch), home)
            got = Path(scratch) / "jars"
            wrong = _wrong(got, files)
            if wrong:
                raise SetupError(
                    f"jars missing or different from infra/jars.lock: {', '.join(wrong)}",
                    "check the network or proxy, delete the cache folder and try again",
                )
            folder.parent.mkdir(parents=True, exist_ok=True)
            draft = folder.with_name(f"{folder.name}.{os.getpid()}")
            draft.mkdir()
            for file in files:
                shutil.move(got / file, draft / file)
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
    return [folder / file for file in files]


def _resolve(coordinates: list[str], scratch: Path, home: Path) -> None:
    script = scratch / "nothing.py"
    script.write_text("")
    environment = {**os.environ, "JAVA_HOME": str(home), "SPARK_HOME": str(spark_home()), "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [
        str(spark_home() / "bin" / "spark-submit"),
        "--conf", f"spark.jars.ivy={scratch}",
        "--packages", ",".join(coordinates), str(script),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        lines = [
            line for line in done.stderr.splitlines() if "rror" in line or "NOT FOUND" in line or "unresolved" in line
        ]
        raise SetupError(
            f"jars of {', '.join(coordinates)} cannot be fetched: {' | '.join(lines[:3]) or done.stderr[-300:]}",
            "check the network, proxy and certificates (SSL_CERT_FILE), then run `make setup` again",
        )


def broker_classpath(cache_folder: Path, home: Path) -> str:
    """Class path of the embedded broker."""
    shipped = [p for p in sorted((spark_home() / "jars").glob("*.jar")) if p.name.startswith(_FROM_PYSPARK)]
    return ":".join(map(str, [*fetch("broker", cache_folder, home), *shipped]))


def spark_jars(cache_folder: Path, home: Path) -> str:
    """Value of spark.jars: the connectors that pyspark does not ship."""
    return ",".join(map(str, fetch("spark", cache_folder, home)))


if __name__ == "__main__":
    from infra.java import java_home
    from infra.settings import load_settings

    settings = load_settings()
    chosen = java_home(settings.java_home, settings.cache_folder)
    for wanted in locked():
        fetch(wanted, settings.cache_folder, chosen)
