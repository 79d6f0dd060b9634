"""Containers of the kernel's own: a network, a process and a mount namespace, and a layer over this machine's files.

Everything below lives in the namespaces of one parent process (`contained`). When it ends, by whatever, the kernel ends
what runs inside, and takes the networks and mounts away.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TOOLS: Final = ("ip", "unshare", "nsenter", "mount", "umount", "pivot_root", "setpriv", "bash", "openssl", "curl")
_NAMESPACES: Final = ("--mount", "--net", "--ipc", "--pid", "--fork", "--mount-proc")
_NETWORK: Final = "10.77.0"
_BRIDGE: Final = "br0"
# What every container needs: namespaces, a layer over this machine's files, a bridge and a link. Inside a container of
# somebody else's the first may be allowed and the others not.
_TRIAL: Final = """set -e
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work" root
ip link add trial0 type bridge
ip link add trial1 type veth peer name trial2
"""
_INIT: Final = """trap 'kill -TERM "$child"' TERM
"$@" &
child=$!
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
exit "$code"
"""  # bash reaps what is orphaned


def lacking() -> str:
    """Why containers cannot be made here, empty when they can."""
    if not sys.platform.startswith("linux"):
        return "it needs Linux: namespaces are the kernel's"
    if os.geteuid() != 0:
        return "it needs root, to make namespaces and mounts"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"it needs {', '.join(missing)}: install iproute2, util-linux, openssl and curl"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trial = subprocess.run(
            ["unshare", *_NAMESPACES, "sh", "-c", _TRIAL], capture_output=True, text=True, cwd=folder,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    return f"the kernel makes no containers here: {trial.stderr.strip()}" if trial.returncode else ""


def contained(command: Sequence[str]) -> int:
    """Run a command in namespaces of its own; returns its code. Whatever it started is gone when this returns."""
    inside = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, "--kill-child", *command],
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        return inside.wait()
    finally:
        children = _children(inside.pid)
        inside.kill()
        inside.wait()
        for pid in children:  # the kernel has ended a namespace when its first process is gone
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.01)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Network:
    """A bridge between containers, and us on it. It has no way out: the machine's own network is not in here."""

    def __init__(self, folder: Path) -> None:
        os.makedirs("/run/netns", exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")  # ours alone: nobody else sees our networks
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "link", "set", _BRIDGE, "up")
        _run("ip", "addr", "add", f"{_NETWORK}.1/24", "dev", _BRIDGE)
        folder.mkdir(parents=True, exist_ok=True)
        self._hosts = folder / "hosts"
        self._hosts.touch()
        _run("mount", "--bind", str(self._hosts), "/etc/hosts")  # for us: the bare machine's stays as it is
        self.addresses: dict[str, str] = {}

    def join(self, name: str) -> None:
        """A network namespace of that name, with an address on the bridge."""
        number = len(self.addresses) + 2
        self.addresses[name] = f"{_NETWORK}.{number}"
        outer = f"veth{number}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", outer, "master", _BRIDGE, "up")
        for words in (f"addr add {self.addresses[name]}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", name, *words.split())
        self._hosts.write_text(self.hosts())

    def hosts(self) -> str:
        """The file /etc/hosts of every container."""
        lines = [f"{address} {name}" for name, address in self.addresses.items()]
        return "\n".join(["127.0.0.1 localhost", *lines, ""])


@dataclass(frozen=True)
class Files:
    """What a container sees besides a private layer over this machine's files."""

    binds: Mapping[str, Path] = field(default_factory=dict)  # path in the container -> file or folder here
    read_only: frozenset[str] = frozenset()
    tmpfs: tuple[str, ...] = ("/tmp", "/data", "/run")
    texts: Mapping[str, str] = field(default_factory=dict)  # path in the container -> contents
    shm_bytes: int = 64 << 20


@dataclass
class Container:
    """One container. It can be started again; its layer stays, its tmpfs do not, as with Docker."""

    name: str
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    files: Files
    workdir: str = "/"
    init: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, its output behind what there is in the log."""
        for layer in ("upper", "work", "root"):
            (self.folder / layer).mkdir(parents=True, exist_ok=True)
        script = self.folder / "enter.sh"
        script.write_text(self._script())
        self._entered.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork",
                 "--kill-child", "/bin/bash", str(script)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    @property
    def _entered(self) -> Path:
        return self.folder / "entered"

    @property
    def ended(self) -> bool:
        """True once it has run, and until it is started again."""
        return self.process is not None and self.process.poll() is not None

    @property
    def running(self) -> bool:
        """True while its command runs: everything is mounted, and further commands find what they need."""
        return (
            self.process is not None and not self.ended and self._entered.exists() and self._entered.stat().st_size > 0
        )

    @property
    def pid(self) -> int:
        """The container's first process, as seen from outside. Raises LookupError when there is none."""
        if self.process is not None and not self.ended:
            for pid in _children(self.process.pid):
                return pid
        raise LookupError(f"{self.name} does not run")

    def kill(self) -> None:
        """kill -9 of all that runs in it."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM to its first process."""
        with suppress(LookupError, ProcessLookupError):  # it has ended by itself
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Return when it has ended; after `seconds` it is killed."""
        if self.process is not None:
            try:
                self.process.wait(max(0.0, seconds))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def execute(self, command: Sequence[str], output: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a further process in it, as `docker exec` does; what it says goes to `output`."""
        where = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--",
             "/usr/bin/env", "-i", *(f"{k}={v}" for k, v in self.environment.items()), "/bin/sh", "-c", where],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, start_new_session=True,
        )  # fmt: skip

    def _script(self) -> str:
        """What bash does in the new namespaces: mount, change the root, become the command."""
        root, q = self.folder / "root", shlex.quote
        layers = f"lowerdir=/,upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        lines = [
            "set -e",
            "mount --make-rprivate /",
            f"mount -t overlay overlay -o {q(layers)} {root}",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /sys {root}/sys",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs -o size={self.files.shm_bytes} tmpfs {root}/dev/shm",
        ]
        for path in self.files.tmpfs:
            lines += [f"mkdir -p {root}{path}", f"mount -t tmpfs -o mode=1777 tmpfs {root}{path}"]
        for path, source in self.files.binds.items():
            make = f"mkdir -p {q(f'{root}{path}')}"
            if source.is_file():
                make = f"mkdir -p {q(os.path.dirname(f'{root}{path}'))} && touch {q(f'{root}{path}')}"
            lines += [make, f"mount --rbind {q(str(source))} {q(f'{root}{path}')}"]
            if path in self.files.read_only:
                lines.append(f"mount -o remount,bind,ro {q(f'{root}{path}')}")
        for path, text in self.files.texts.items():
            lines += [f"mkdir -p {q(os.path.dirname(f'{root}{path}'))}", f"printf %s {q(text)} > {q(f'{root}{path}')}"]
        wanted = " ".join(q(f"{key}={value}") for key, value in self.environment.items())
        command = shlex.join(self.command)
        if self.init:  # reaps what is orphaned, and hands signals on
            command = shlex.join(["/bin/bash", "-c", _INIT, "init", *self.command])
        return "\n".join([
            *lines,
            f"hostname {q(self.name)}",
            f"cd {root}",
            "mkdir -p .old",
            f"exec 9> {q(str(self._entered))}",
            "pivot_root . .old",
            "umount -l /.old",
            f"cd {q(self.workdir)}",
            "echo entered >&9",
            "exec 9>&-",
            f"exec /usr/bin/env -i {wanted} {command}",
            "",
        ])  # fmt: skip


def memory() -> Counter[str]:
    """Bytes that each container holds, and this program ("") beside them; pages that several share are divided."""
    containers = {entry.stat().st_ino: entry.name for entry in Path("/run/netns").iterdir()}
    found: Counter[str] = Counter()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                share = re.search(r"^Pss:\s+(\d+) kB", (entry / "smaps_rollup").read_text(), re.MULTILINE)
                name = containers.get((entry / "ns" / "net").stat().st_ino, "")
            except (OSError, ProcessLookupError):
                continue
            found[name] += int(share[1]) << 10 if share else 0
    return found
