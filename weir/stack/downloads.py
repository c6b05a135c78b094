"""Fetch what the lock file names, once, checked, into the cache.

Files come through jgo from the Maven repository it knows, or from ``WEIR_MAVEN_URL`` (a mirror). Each is downloaded
into a staging folder of the cache, compared with its locked checksum, and only then moved to its place: the cache
never holds half a file under a final name.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from weir.errors import StackError
from weir.stack.artifacts import Artifact, Lock, cache_dir, cached_path, is_intact, missing, read_lock, registry_dir
from weir.stack.disk import disk_full, require_space

PARALLEL_DOWNLOADS = 4
TIMEOUT_SECONDS = 30
ATTEMPTS = 2
UNPACKED_FACTOR = 2
"""The registry's archive and its unpacked files lie side by side for a moment."""

Advance = Callable[[int], None]


def ensure_artifacts(console: Console, cache: Path | None = None, lock: Lock | None = None) -> Path:
    """Make the cache complete and return it; without network when it is complete already.

    Shows progress on ``console``. Raises :class:`~weir.errors.StackError` when there is no network, no room, or a file
    does not have its locked checksum.
    """
    folder, wanted = cache or cache_dir(), lock or read_lock()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder / "lock"):
            absent = missing(wanted, folder)
            if absent:
                _download_all(absent, folder, console)
            if not registry_dir(wanted, folder).is_dir():
                _unpack_registry(wanted, folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(folder, "The download") from None
        raise StackError(f"The cache folder {folder} cannot be used ({error.strerror}); set WEIR_CACHE_DIR.") from None
    return folder


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Wait until no other process fills the same cache."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download_all(absent: list[Artifact], cache: Path, console: Console) -> None:
    total = sum(artifact.size for artifact in absent)
    require_space(cache, total * UNPACKED_FACTOR, "Downloading Kafka and the registry")
    (cache / "artifacts").mkdir(exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        tempfile.TemporaryDirectory(dir=cache, prefix="staging-") as staging,
        Progress(*columns, console=console) as progress,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        task = progress.add_task(f"downloading {len(absent)} files", total=total)
        fetches = [pool.submit(_fetch, artifact, cache, Path(staging), _advance(progress, task)) for artifact in absent]
        try:
            for number, fetch in enumerate(fetches, start=1):
                fetch.result()
                progress.update(task, description=f"downloaded {number} of {len(absent)} files")
        finally:
            pool.shutdown(cancel_futures=True)


def _advance(progress: Progress, task: object) -> Advance:
    return lambda size: progress.advance(task, size)  # type: ignore[arg-type]


def _fetch(artifact: Artifact, cache: Path, staging: Path, advance: Advance) -> None:
    """Download one file and move it to its place if it is what the lock says."""
    path = _download(artifact, staging, advance)
    if not is_intact(artifact, path):
        raise StackError(
            f"The download of {artifact.filename} is broken: it does not have its locked size and checksum. Start "
            "again; if it stays so, a proxy or mirror between here and the Maven repository changes files."
        )
    path.replace(cached_path(artifact, cache))


def _download(artifact: Artifact, staging: Path, advance: Advance) -> Path:
    """Let jgo download one file, with another attempt when the connection breaks."""
    from requests import RequestException  # with jgo, half a second that a start with a full cache saves

    for attempt in range(1, ATTEMPTS + 1):
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            advance(size)

        try:
            return _download_once(artifact, Path(tempfile.mkdtemp(dir=staging)), count)
        except RequestException as error:
            advance(-received)
            if attempt == ATTEMPTS:
                raise StackError(
                    f"{artifact.filename} could not be downloaded ({type(error).__name__}): the first start needs the "
                    "network. Connect and start again, set WEIR_MAVEN_URL to a mirror, or point WEIR_CACHE_DIR to a "
                    "filled cache folder."
                ) from None
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


def _download_once(artifact: Artifact, folder: Path, advance: Advance) -> Path:
    from jgo.maven import MavenContext, PythonResolver

    logging.getLogger("jgo").setLevel(logging.CRITICAL)  # its checksum warning is said better by our own error

    @contextmanager
    def progress(_filename: str, _size: int) -> Generator[Advance]:
        yield advance

    mirror = os.environ.get("WEIR_MAVEN_URL")
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=folder,
        remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        timeout=TIMEOUT_SECONDS,
    )
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    try:
        return Path(component.artifact(artifact.classifier, artifact.packaging).resolve())
    except RuntimeError:
        raise StackError(
            f"The Maven repository does not have {artifact.coordinate}; set WEIR_MAVEN_URL to one that does."
        ) from None


def _unpack_registry(lock: Lock, cache: Path) -> None:
    """Unpack the registry beside its final place and rename; the archive itself is not needed afterwards."""
    archive, target = cached_path(lock.registry, cache), registry_dir(lock, cache)
    require_space(cache, lock.registry.size, "Unpacking the registry")
    staging = Path(tempfile.mkdtemp(dir=cache, prefix="staging-"))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(staging, filter="data")
        staging.chmod(0o755)
        staging.rename(target)
    except tarfile.TarError as error:
        raise StackError(f"The registry's archive cannot be unpacked ({error}); start again.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    archive.unlink()
