"""A compose file as what a container engine has to do. What this reader does not know it refuses, by name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tests.cluster.variables import ComposeError, interpolate_all

STARTED, HEALTHY, COMPLETED = "service_started", "service_healthy", "service_completed_successfully"
_IMAGE_S_OWN: Final = frozenset({"build", "ulimits"})  # nothing to do for them without Docker
_REPLACED: Final = frozenset({"command", "entrypoint", "test"})  # by a later file, where other lists grow
_UNITS: Final = {"b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}
_SPANS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Health:
    """How a container is asked whether it is well: a command, seconds, and failures in a row that count."""

    command: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


@dataclass(frozen=True)
class Mount:
    """A named volume, or a path of the project (it begins with `.` or `/`), at a path of the container."""

    source: str
    target: str
    read_only: bool = False

    @property
    def named(self) -> bool:
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Port:
    """A port of a container that is published on an address of the machine."""

    address: str
    published: int
    target: int


@dataclass(frozen=True)
class Service:
    """One container."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    depends_on: Mapping[str, str] = field(default_factory=dict)
    health: Health | None = None
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    secrets: tuple[str, ...] = ()
    restarts: bool = False
    shm_bytes: int = 64 << 20
    init: bool = False


@dataclass(frozen=True)
class Project:
    """All services, and the texts of the secrets."""

    name: str
    services: Mapping[str, Service]
    secrets: Mapping[str, str]


def read_project(files: Sequence[Path], variables: Mapping[str, str]) -> Project:
    """The project that the files, each over the one before it, make. Raises ComposeError."""
    merged: dict[str, Any] = {}
    for path in files:
        merged = merge(merged, load(path))
    filled = interpolate_all({key: value for key, value in merged.items() if not key.startswith("x-")}, variables)
    _only(filled, {"name", "services", "volumes", "secrets"}, "the file")
    secrets = {name: _secret(name, said, variables) for name, said in (filled.get("secrets") or {}).items()}
    services = {name: _service(name, said, variables) for name, said in filled["services"].items()}
    _check(services, set(filled.get("volumes") or {}), set(secrets))
    return Project(filled["name"], services, secrets)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with compose's `!override`."""


class _Override(list[Any]):
    """A list that takes the place of the one below it."""


_Loader.add_constructor("!override", lambda loader, node: _Override(loader.construct_sequence(node, deep=True)))


def load(path: Path) -> dict[str, Any]:
    """One file: its short forms written long, and in each service what it extends. Raises ComposeError."""
    document = yaml.load(path.read_text(), _Loader)
    if not isinstance(document, dict):
        raise ComposeError(f"{path} is no mapping")
    services = document.get("services") or {}
    for name, said in services.items():
        services[name] = _long(said)
        if (extended := said.get("extends")) is not None:
            base = load(path.with_name(extended["file"]))["services"][extended["service"]]
            services[name] = merge(base, {key: value for key, value in services[name].items() if key != "extends"})
    return document


def merge(below: Any, above: Any) -> Any:
    """As compose does: mappings by key, lists one behind the other, mounts by target, commands and tests replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        grows = key not in _REPLACED and not isinstance(value, _Override)
        if isinstance(known, list) and isinstance(value, list) and grows:
            targets = {_target(one) for one in value}
            merged[key] = [one for one in known if _target(one) not in targets] + value
        else:
            merged[key] = merge(known, value)
    return merged


def _target(said: Any) -> Any:
    parts = said.split(":") if isinstance(said, str) else [said]
    return parts[1] if len(parts) > 1 else parts[0]


def _long(service: dict[str, Any]) -> dict[str, Any]:
    """A service whose lists that are merged by key are mappings."""
    long = dict(service)
    if isinstance(said := service.get("environment"), list):
        pairs = (one.partition("=") for one in said)
        long["environment"] = {name: value if equals else None for name, equals, value in pairs}
    if isinstance(said := service.get("depends_on"), list):
        long["depends_on"] = {name: {"condition": STARTED} for name in said}
    return long


def _service(name: str, said: dict[str, Any], variables: Mapping[str, str]) -> Service:
    """One service. A variable of its environment without a value is handed over from ours, where it is set."""
    known = {"image", "command", "environment", "depends_on", "healthcheck", "volumes", "secrets", "restart"}
    _only(said, known | {"init", "ports", "shm_size"} | _IMAGE_S_OWN, name)
    restart = said.get("restart", "no")
    if restart not in ("no", "always", "unless-stopped"):
        raise ComposeError(f"{name}: restart {restart!r} is not known here")
    return Service(
        name=name,
        image=said["image"],
        command=_words(said["command"]) if "command" in said else None,
        environment={
            key: _text(name, key, value)
            for key, given in (said.get("environment") or {}).items()
            if (value := variables.get(key) if given is None else given) is not None
        },
        depends_on={on: how["condition"] for on, how in (said.get("depends_on") or {}).items()},
        health=_health(name, said["healthcheck"]) if "healthcheck" in said else None,
        mounts=tuple(_mount(name, one) for one in said.get("volumes", ())),
        ports=tuple(_port(name, one) for one in said.get("ports", ())),
        secrets=tuple(_short(name, one) for one in said.get("secrets", ())),
        restarts=restart != "no",
        shm_bytes=_bytes(said.get("shm_size", "64m")),
        init=bool(said.get("init", False)),
    )


def _words(said: str | list[str]) -> tuple[str, ...]:
    return tuple(shlex.split(said) if isinstance(said, str) else said)


def _text(service: str, name: str, value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ComposeError(f"{service}: {name} is {value!r}: write it as a text")
    return str(value)


def _health(name: str, said: dict[str, Any]) -> Health:
    _only(said, {"test", "interval", "timeout", "retries", "start_period", "start_interval"}, f"{name}.healthcheck")
    test = said["test"]
    if isinstance(test, str):
        command = ["/bin/sh", "-c", test]
    elif test[0] == "CMD-SHELL":
        command = ["/bin/sh", "-c", *test[1:]]
    elif test[0] == "CMD":
        command = test[1:]
    else:
        raise ComposeError(f"{name}: a test begins with CMD or CMD-SHELL, not with {test[0]!r}")
    spans: dict[str, Any] = {key: _seconds(value) for key, value in said.items() if key not in ("test", "retries")}
    return Health(tuple(command), retries=int(said.get("retries", Health.retries)), **spans)


def _mount(name: str, said: Any) -> Mount:
    source, _, rest = _short(name, said).partition(":")
    target, _, mode = rest.partition(":")
    if not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise ComposeError(f"{name}: write the volume {said!r} as SOURCE:/TARGET[:ro]")
    return Mount(source, target, mode == "ro")


def _port(name: str, said: Any) -> Port:
    match = re.fullmatch(r"([\d.]+):(\d+):(\d+)", _short(name, said))
    if match is None:
        raise ComposeError(f"{name}: write the port {said!r} as ADDRESS:PUBLISHED:TARGET")
    return Port(match[1], int(match[2]), int(match[3]))


def _short(name: str, said: Any) -> str:
    if not isinstance(said, str):
        raise ComposeError(f"{name}: only the short form is known here, not {said!r}")
    return said


def _secret(name: str, said: dict[str, Any], variables: Mapping[str, str]) -> str:
    _only(said, {"environment"}, f"secret {name}")
    variable = said["environment"]
    if not variables.get(variable):
        raise ComposeError(f"{variable} is required: the secret {name} comes from it")
    return variables[variable]


def _seconds(said: str) -> float:
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", said)
    if not found or "".join(n + unit for n, unit in found) != said:
        raise ComposeError(f"{said!r} is no span of time")
    return sum(float(n) * _SPANS[unit] for n, unit in found)


def _bytes(said: str | int) -> int:
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", str(said).lower())
    if match is None or (match[2] or "b") not in _UNITS:
        raise ComposeError(f"{said!r} is no size")
    return int(match[1]) * _UNITS[match[2] or "b"]


def _only(said: Mapping[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    foreign = sorted(set(said) - known)
    if foreign:
        raise ComposeError(f"{where}: {', '.join(foreign)} is not known here")


def _check(services: Mapping[str, Service], volumes: set[str], secrets: set[str]) -> None:
    for service in services.values():
        for on, how in service.depends_on.items():
            if on not in services:
                raise ComposeError(f"{service.name} depends on {on}, which is no service")
            if how not in (STARTED, HEALTHY, COMPLETED):
                raise ComposeError(f"{service.name} depends on {on}: {how!r} is no condition")
            if how == HEALTHY and services[on].health is None:
                raise ComposeError(f"{service.name} waits for the health of {on}, which has no test of it")
        for mount in service.mounts:
            if mount.named and mount.source not in volumes:
                raise ComposeError(f"{service.name} mounts {mount.source}, which is no volume")
        for secret in service.secrets:
            if secret not in secrets:
                raise ComposeError(f"{service.name} needs {secret}, which is no secret")
    ordered(services)


def ordered(services: Mapping[str, Service]) -> list[str]:
    """The services, each behind those that it depends on. Raises ComposeError where they wait for one another."""
    order: list[str] = []
    left = dict(services)
    while left:
        ready = [name for name, service in left.items() if not service.depends_on.keys() & left.keys()]
        if not ready:
            raise ComposeError(f"{', '.join(sorted(left))} wait for one another")
        order += ready
        for name in ready:
            del left[name]
    return order
