"""The reader of compose files that tests/cluster starts containers by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.clickhouse_image import last, passwords_of
from tests.cluster.composefile import COMPLETED, HEALTHY, STARTED, Health, Mount, Port, ordered, read_project
from tests.cluster.documented import commands
from tests.cluster.images import dockerfile_environment, image_of
from tests.cluster.kafka_image import properties_of
from tests.cluster.variables import ComposeError, interpolate, parse_env_file

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "docker-compose.yml", ROOT / "docker-compose.cluster.yml"]
SECRETS = {"CLICKHOUSE_PASSWORD": "pw-writer", "CLICKHOUSE_READER_PASSWORD": "pw-reader", "RAY_TOKEN": "tk"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$A and ${A}", "1 and 1"),
        ("$$A", "$A"),
        ("${EMPTY:-x}${EMPTY-x}${NONE-y}", "xy"),
        ("${A:+there}${EMPTY:+there}${EMPTY+set}", "thereset"),
        ("${NONE:-${A:-2}}", "1"),
        ("${NONE:-${OTHER:-2}}{}", "2{}"),
        ("${NONE}$NONE", ""),
        ("${A:?needed}", "1"),
        ("${NONE:--Xmx1g -Xms1g}", "-Xmx1g -Xms1g"),
    ],
)
def test_variables_are_filled_in(text: str, filled: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}) == filled


@pytest.mark.parametrize(
    ("text", "told"),
    [("${NONE:?write it into .env}", "NONE is required: write it into .env"), ("${EMPTY:?x}", "EMPTY is required"),
     ("${A", "not closed"), ("${1}", "no name"), ("${A!x}", "no operator"), ("5$", "written \\$\\$")],
)  # fmt: skip
def test_what_is_no_variable_is_told(text: str, told: str) -> None:
    with pytest.raises(ComposeError, match=told):
        interpolate(text, {"A": "1", "EMPTY": ""})


def test_the_env_file() -> None:
    text = "# secrets\n\nA=1\nexport B='two words'\nC=x=y # why\nD=\n"
    assert parse_env_file(text) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}
    with pytest.raises(ComposeError, match=r"line 2: 'nonsense'"):
        parse_env_file("A=1\nnonsense\n")


def _project(tmp_path: Path, *texts: str) -> Path:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yml").write_text(text)
    return tmp_path


_BASE = """
name: p
services:
  a:
    image: x
    command: run --it 'all the way'
    environment: [ONE=1, TWO=2]
    depends_on: [b]
    ports: ["127.0.0.1:80:8000"]
    volumes: ["v:/data", "./f.xml:/f.xml:ro"]
    restart: unless-stopped
    shm_size: 256m
    healthcheck: {test: [CMD, ask], interval: 1m30s, retries: 5}
  b: {image: y, secrets: [s]}
volumes: {v: {}}
secrets: {s: {environment: SECRET}}
"""


def test_a_service_is_read(tmp_path: Path) -> None:
    _project(tmp_path, _BASE)
    read = read_project([tmp_path / "0.yml"], {"SECRET": "z"})
    a = read.services["a"]
    assert (a.command, a.environment) == (("run", "--it", "all the way"), {"ONE": "1", "TWO": "2"})
    assert a.depends_on == {"b": STARTED}
    assert a.ports == (Port("127.0.0.1", 80, 8000),)
    assert a.mounts == (Mount("v", "/data"), Mount("./f.xml", "/f.xml", True))
    assert a.health == Health(("ask",), interval=90, retries=5)
    assert (a.restarts, a.shm_bytes) == (True, 256 << 20)
    assert read.services["b"].secrets == ("s",)
    assert read.secrets == {"s": "z"}


def test_a_file_goes_over_another(tmp_path: Path) -> None:
    above = """
services:
  a:
    command: [other]
    environment: {TWO: "3"}
    volumes: ["w:/data"]
    ports: !override ["127.0.0.1:81:8000"]
  c:
    extends: {file: 0.yml, service: a}
    environment: {ONE: "9"}
    depends_on: {a: {condition: service_healthy}}
volumes: {w: {}}
"""
    _project(tmp_path, _BASE, above)
    read = read_project([tmp_path / "0.yml", tmp_path / "1.yml"], {"SECRET": "z"})
    a, c = read.services["a"], read.services["c"]
    assert a.command == ("other",)
    assert a.environment == {"ONE": "1", "TWO": "3"}
    assert a.mounts == (Mount("./f.xml", "/f.xml", True), Mount("w", "/data"))
    assert a.ports == (Port("127.0.0.1", 81, 8000),)
    assert c.command == ("run", "--it", "all the way")
    assert c.environment == {"ONE": "9", "TWO": "2"}
    assert c.depends_on == {"b": STARTED, "a": HEALTHY}
    assert ordered(read.services) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("image: x", "imagge: x\n    image: x"), "a: imagge is not known here"),
        (("depends_on: [b]", "depends_on: [z]"), "a depends on z, which is no service"),
        (("depends_on: [b]", "depends_on: {b: {condition: service_healthy}}"), "health of b, which has no test"),
        (("{image: y, ", "{image: y, depends_on: [a], "), "a, b wait for one another"),
        (("v:/data", "u:/data"), "mounts u, which is no volume"),
        (("secrets: [s]}", "secrets: [t]}"), "needs t, which is no secret"),
        (("environment: SECRET", "environment: OTHER"), "OTHER is required"),
        (("interval: 1m30s", "interval: soon"), "'soon' is no span of time"),
        (("127.0.0.1:80:8000", "80:8000"), "ADDRESS:PUBLISHED:TARGET"),
        (("restart: unless-stopped", "restart: on-failure"), "'on-failure' is not known here"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = _BASE.replace(*change)
    assert text != _BASE
    _project(tmp_path, text)
    with pytest.raises(ComposeError, match=told):
        read_project([tmp_path / "0.yml"], {"SECRET": "z"})


@pytest.mark.parametrize("files", [FILES[:1], FILES], ids=["one broker", "three brokers"])
def test_the_deployments_are_understood_to_the_last_key(files: list[Path]) -> None:
    read = read_project(files, SECRETS)
    assert all(image_of(service.image).workdir for service in read.services.values())
    assert read.services["matching"].depends_on == {"prepare": COMPLETED}
    with pytest.raises(ComposeError, match="is required"):
        read_project(files, {**SECRETS, "CLICKHOUSE_PASSWORD": ""})


def test_three_brokers_know_one_another_and_everybody_knows_them() -> None:
    services = read_project(FILES, SECRETS).services
    brokers = {name: properties_of(services[name].environment) for name in ("kafka", "kafka-2", "kafka-3")}
    assert [p["node.id"] for p in brokers.values()] == ["1", "2", "3"]
    assert len({p["controller.quorum.voters"] for p in brokers.values()}) == 1
    for name, properties in brokers.items():
        assert properties["advertised.listeners"] == f"PLAINTEXT://{name}:9092"
        assert (properties["default.replication.factor"], properties["min.insync.replicas"]) == ("3", "2")
    assert len({services[name].mounts for name in brokers}) == 3
    ours = [service for service in services.values() if service.image.startswith("escapecapitalism")]
    told = {s.environment.get("ESCAPE_BOOTSTRAP") for s in ours if not s.name.startswith(("spark", "api"))}
    assert told == {"kafka:9092,kafka-2:9092,kafka-3:9092"}
    ports = [port.published for service in services.values() for port in service.ports]
    assert len(ports) == len(set(ports)) == 2


def test_names_of_kafkas_variables() -> None:
    given = {"KAFKA_NODE_ID": "1", "KAFKA_A__B": "2", "KAFKA_A___B": "3", "KAFKA_HEAP_OPTS": "-Xmx1g", "OTHER": "4"}
    assert properties_of(given) == {"node.id": "1", "a_b": "2", "a-b": "3"}


def test_the_reader_of_the_tables_can_only_read() -> None:
    text = (ROOT / "infra" / "clickhouse-reader.xml").read_text()
    environment = {
        "CLICKHOUSE_USER": "escape", "CLICKHOUSE_PASSWORD": "w", "CLICKHOUSE_READER_PASSWORD": "r"
    }  # fmt: skip
    assert passwords_of(environment, {"reader.xml": text}) == {"escape": "w", "reader": "r"}
    with pytest.raises(ValueError, match="not readonly"):
        passwords_of(environment, {"reader.xml": text.replace("<readonly>2", "<readonly>0")})
    with pytest.raises(ValueError, match="no password from_env"):
        passwords_of(environment, {"reader.xml": text.replace("from_env", "of")})


def test_a_request_is_handed_on_under_the_name_of_loopback_and_is_the_last_of_its_connection() -> None:
    head = b"POST /?query=x HTTP/1.1\r\nHOST: clickhouse:8123\r\nConnection: keep-alive\r\nX: host: y\r\n\r\n"
    told = b"POST /?query=x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX: host: y\r\n\r\n"
    assert last(head, b"Host: 127.0.0.1") == told
    assert last(b"HTTP/1.1 200 OK\r\n\r\n") == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def test_the_images_variables_are_the_dockerfiles() -> None:
    told = dockerfile_environment('FROM x\nENV PATH=/app/bin:$PATH A=1\nRUN y\nENV B="${A} 2"\n')
    assert told["PATH"].startswith("/app/bin:/usr/local/sbin:")
    assert (told["A"], told["B"]) == ("1", "1 2")
    with pytest.raises(ComposeError, match="nothing stands here for the image nginx"):
        image_of("nginx:1")


@pytest.mark.parametrize("section", ["One broker", "Three brokers"])
def test_the_documented_commands_are_found(section: str) -> None:
    lines = commands(section)
    assert "docker compose up --build --wait" in lines
    assert lines[-1] == "docker compose down"
