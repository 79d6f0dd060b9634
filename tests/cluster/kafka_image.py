"""What stands for apache/kafka: `python -m tests.cluster.kafka_image` turns KAFKA_* into properties and becomes Java.

Its rule is the image's own: KAFKA_NODE_ID is node.id, two underscores are one, three are a dash. Java and class path
come from the variables of images.py.
"""

from __future__ import annotations

import base64
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.java import file_logging

_OURS: Final = ("KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_OPTS")  # options of Java
_HEAP: Final = "-Xmx1G -Xms1G"  # as the image has it
_CLUSTER: Final = "5L6g3nShT-eMCtK--X86sw"  # as the image has it


def properties_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The broker's properties that the variables set."""
    found = {}
    for name, value in environment.items():
        if name.startswith("KAFKA_") and name not in _OURS:
            key = name.removeprefix("KAFKA_").lower().replace("___", "-")
            key = re.sub(r"(?<!_)_(?!_)", ".", key).replace("__", "_")
            found[key] = value
    return found


def main() -> None:
    """Write the configuration, mark a new log as this cluster's, become the broker."""
    environment = dict(os.environ)
    properties = properties_of(environment)
    folder = Path("/opt/kafka/config")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    (folder / "log4j2.properties").write_text(file_logging(Path("/tmp/broker.log")))
    log = Path(properties["log.dirs"])
    if not (log / "meta.properties").exists():
        directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        cluster = environment.get("CLUSTER_ID", _CLUSTER)
        lines = ["version=1", f"cluster.id={cluster}", f"node.id={properties['node.id']}", f"directory.id={directory}"]
        (log / "meta.properties").write_text("\n".join([*lines, ""]))
    heap = environment.get("KAFKA_HEAP_OPTS", _HEAP).split()
    java = [
        os.path.join(environment["JAVA_HOME"], "bin", "java"), *heap, "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "-cp", environment["JAVA_CLASSPATH"], "kafka.Kafka", str(folder / "server.properties"),
    ]  # fmt: skip
    os.execv(java[0], java)


if __name__ == "__main__":
    main()
