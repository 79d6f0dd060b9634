"""`docker compose`, as much of it as docker-compose.yml needs: up, exec, kill and the restarts, over sandbox.py."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.composefile import COMPLETED, HEALTHY, Health, Project, Service, ordered
from tests.cluster.images import image_of, visible
from tests.cluster.publishing import publish
from tests.cluster.sandbox import Container, Files, Network

_LOOK_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 1.0  # before a container that has ended is started again
_STOP_SECONDS: Final = 5.0
_LAST_LINES: Final = 25


class EngineError(Exception):
    """A service that does not come up, or a command that fails; with its last words."""


@dataclass
class _Checked:
    """The health of one container."""

    health: Health
    healthy: bool = False
    failures: int = 0
    due: float = 0.0
    asking: subprocess.Popen[str] | None = None
    asked: float = 0.0

    def look(self, container: Container) -> None:
        """Take in the answer to the last question, or ask the next."""
        now = time.monotonic()
        if self.asking is None:
            if now >= self.due:
                self.asking, self.asked = container.execute(self.health.command, subprocess.DEVNULL), now
            return
        code = self.asking.poll()
        if code is None and now < self.asked + self.health.timeout:
            return
        if code is None:
            self.asking.kill()
            self.asking.wait()
        self.failures = 0 if code == 0 else self.failures + 1
        self.healthy = code == 0 or (self.healthy and self.failures < self.health.retries)
        pause = self.health.interval if self.healthy else min(self.health.interval, self.health.start_interval)
        self.asking, self.due = None, now + pause


class Engine:
    """The containers of a project. Use as a context manager: a thread starts them, asks for their health, restarts."""

    def __init__(self, project: Project, folder: Path, base: Path) -> None:
        self.project = project
        self._folder, self._base = folder, base
        self._network = Network(folder)
        for name in project.services:
            self._network.join(name)
        self._containers = {name: self._container(service) for name, service in project.services.items()}
        self._checked = {n: _Checked(s.health) for n, s in project.services.items() if s.health is not None}
        self._wanted: set[str] = set()
        self._again: dict[str, float] = {}  # when a container that ended is started again
        self.restarts = dict.fromkeys(project.services, 0)
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Engine:
        self._thread.start()
        for service in self.project.services.values():
            for port in service.ports:
                publish((port.address, port.published), (self._network.addresses[service.name], port.target))
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for container in self._containers.values():
            container.terminate()
        limit = time.monotonic() + _STOP_SECONDS
        for container in self._containers.values():
            container.wait(limit - time.monotonic())

    # ---- what one asks for
    def up(self, seconds: float = 240.0) -> None:
        """`docker compose up --wait`. Raises EngineError naming what does not come up."""
        self._wanted = set(self.project.services)
        self.until(lambda: all(self.there(name) for name in self._wanted), seconds)

    def execute(self, service: str, command: Sequence[str], seconds: float = 300.0) -> str:
        """`docker compose exec -T SERVICE COMMAND`: what it says on stdout. Raises EngineError where it fails."""
        process = self.begin(service, command)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise EngineError(f"{service}: `{' '.join(command)}` does not end in {seconds:.0f} s") from error
        if process.returncode:
            raise EngineError(
                f"{service}: `{' '.join(command)}` ends with {process.returncode}: {err[-2000:]}{out[-500:]}"
            )
        return out

    def begin(self, service: str, command: Sequence[str]) -> subprocess.Popen[str]:
        """The same without waiting for its end."""
        return self._containers[service].execute(command)

    def kill(self, service: str) -> None:
        """kill -9 of a container; its restart policy applies, as for a process that a machine has killed."""
        self._containers[service].kill()

    def until(self, condition: Callable[[], Any], seconds: float) -> Any:
        """What the condition gives once it gives something. Raises EngineError after so many seconds."""
        limit = time.monotonic() + seconds
        while not (found := condition()):
            if self._failed is not None:
                raise EngineError(str(self._failed)) from self._failed
            if time.monotonic() > limit:
                missing = [name for name in sorted(self._wanted) if not self.there(name)]
                words = "\n".join(f"--- {name}\n{self.last_words(name)}" for name in missing)
                raise EngineError(f"not in {seconds:.0f} s; not up: {', '.join(missing) or 'nothing'}\n{words}")
            time.sleep(_LOOK_SECONDS)
        return found

    def log(self, service: str) -> str:
        """What a container has said."""
        path = self._containers[service].log
        return path.read_text(errors="replace") if path.exists() else ""

    def last_words(self, service: str) -> str:
        """The end of it."""
        return "\n".join(self.log(service).splitlines()[-_LAST_LINES:])

    def volume(self, name: str) -> Path:
        """The folder of a named volume."""
        return self._folder / "volumes" / name

    def there(self, name: str) -> bool:
        """True when a service is up: well, if its health is asked for; ended well, if it is to end; else running."""
        service = self.project.services[name]
        if name in self._checked:
            return self._met(name, HEALTHY)
        return self._containers[name].running if service.restarts else self._met(name, COMPLETED)

    # ---- the thread
    def _supervise(self) -> None:
        try:
            while not self._stopping.wait(_LOOK_SECONDS):
                for name in ordered(self.project.services):
                    if name in self._wanted:
                        self._look(name)
        except BaseException as error:  # told by whoever waits
            self._failed = error

    def _look(self, name: str) -> None:
        container, service = self._containers[name], self.project.services[name]
        if container.process is None:
            if all(self._met(on, how) for on, how in service.depends_on.items()):
                container.start()
        elif container.ended:
            self._ended(name, service, container)
        elif name in self._checked and container.running:
            try:
                self._checked[name].look(container)
            except LookupError:
                return  # it has ended just now

    def _ended(self, name: str, service: Service, container: Container) -> None:
        assert container.process is not None
        if not service.restarts:
            if container.process.returncode:
                raise EngineError(f"{name} ended with {container.process.returncode}:\n{self.last_words(name)}")
            return
        now = time.monotonic()
        if now < self._again.setdefault(name, now + _PAUSE_SECONDS):
            return
        del self._again[name]
        self.restarts[name] += 1
        if name in self._checked:
            self._checked[name] = _Checked(self._checked[name].health)
        container.start()

    def _met(self, name: str, condition: str) -> bool:
        container = self._containers[name]
        if condition == COMPLETED:
            return container.process is not None and container.process.poll() == 0
        if condition == HEALTHY:
            return container.running and self._checked[name].healthy
        return container.running

    # ---- what a service is made of
    def _container(self, service: Service) -> Container:
        image = image_of(service.image)
        binds, read_only = dict(visible(image)), set()
        for mount in service.mounts:
            source = self.volume(mount.source) if mount.named else (self._base / mount.source).resolve()
            if mount.named:
                source.mkdir(parents=True, exist_ok=True)
            elif not source.exists():
                raise EngineError(f"{service.name} mounts {source}, which does not exist")
            binds[mount.target] = source
            if mount.read_only:
                read_only.add(mount.target)
        texts = {"/etc/hosts": self._network.hosts(), "/etc/resolv.conf": ""}
        texts |= {f"/run/secrets/{name}": self.project.secrets[name] for name in service.secrets}
        return Container(
            name=service.name,
            folder=self._folder / service.name,
            command=service.command or image.command,
            environment={**image.environment, **service.environment},
            files=Files(binds, frozenset(read_only), texts=texts, shm_bytes=service.shm_bytes),
            workdir=image.workdir,
            init=service.init,
        )
