"""The Java archives of the embedded stack, named and sized by the lock file beside this module.

``weir.stack.lock_artifacts`` writes the lock; :mod:`weir.stack.downloads` fetches exactly what it says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from weir.errors import StackError

LOCK_FILE = Path(__file__).with_name("artifacts.lock")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Artifact:
    """One locked file of a Maven repository."""

    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        """Its file name in a Maven repository, which is also its name in the cache."""
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{tail}.{self.packaging}"

    @property
    def coordinate(self) -> str:
        """``group:artifact:version[:classifier]:packaging``."""
        middle = [self.classifier] if self.classifier else []
        return ":".join([self.group, self.name, self.version, *middle, self.packaging])


@dataclass(frozen=True)
class Lock:
    """Everything the stack needs from Maven: Kafka's class path, and the registry's archive."""

    kafka: tuple[Artifact, ...]
    registry: Artifact

    @property
    def all(self) -> tuple[Artifact, ...]:
        """Every file."""
        return (*self.kafka, self.registry)


def read_lock(path: Path = LOCK_FILE) -> Lock:
    """Read the lock file. Raises :class:`~weir.errors.StackError` if it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kafka = tuple(parse_line(line) for line in content["kafka"])
        (registry,) = (parse_line(line) for line in content["registry"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"The lock file {path} cannot be read ({error}); reinstall Weir, or write it again with "
            "`python -m weir.stack.lock_artifacts`."
        ) from None
    return Lock(kafka, registry)


def parse_line(line: str) -> Artifact:
    """An entry of the lock, ``group:artifact:version[:classifier]:packaging sha256 size``; ValueError if it is not."""
    coordinate, sha256, size = line.split(" ")
    group, name, version, *rest = coordinate.split(":")
    if len(rest) not in (1, 2) or len(sha256) != 64 or not all((group, name, version)):
        raise ValueError(f"not a locked artifact: {line!r}")
    int(sha256, 16)
    return Artifact(group, name, version, rest[0] if len(rest) == 2 else "", rest[-1], sha256, int(size))


def format_line(artifact: Artifact) -> str:
    """The inverse of :func:`parse_line`."""
    return f"{artifact.coordinate} {artifact.sha256} {artifact.size}"


def write_lock(lock: Lock, path: Path = LOCK_FILE) -> None:
    """Write the lock file, one artifact a line, in class path order."""
    content = {"kafka": [format_line(each) for each in lock.kafka], "registry": [format_line(lock.registry)]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def cache_dir() -> Path:
    """``WEIR_CACHE_DIR``, or the user's cache folder for Weir."""
    chosen = os.environ.get("WEIR_CACHE_DIR")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("weir"))


def cached_path(artifact: Artifact, cache: Path) -> Path:
    """Where ``artifact`` is kept once it has been checked."""
    return cache / "artifacts" / artifact.filename


def registry_dir(lock: Lock, cache: Path) -> Path:
    """Where the registry's archive is unpacked; the name holds its checksum, so another archive goes elsewhere."""
    return cache / f"registry-{lock.registry.version}-{lock.registry.sha256[:12]}"


def missing(lock: Lock, cache: Path) -> list[Artifact]:
    """Files that the cache lacks or holds damaged. Reads every cached file once (40 ms for Kafka's 46)."""
    wanted: Iterable[Artifact] = lock.kafka if registry_dir(lock, cache).is_dir() else lock.all
    return [artifact for artifact in wanted if not is_intact(artifact, cached_path(artifact, cache))]


def is_intact(artifact: Artifact, path: Path) -> bool:
    """Whether ``path`` holds exactly the locked bytes."""
    return path.is_file() and path.stat().st_size == artifact.size and sha256_of(path) == artifact.sha256


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
