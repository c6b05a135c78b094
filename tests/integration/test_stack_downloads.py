"""The cache is filled from a real HTTP server in Maven's layout, and never holds anything but locked bytes."""

from __future__ import annotations

import gc
import hashlib
import io
import tarfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from weir.errors import StackError
from weir.stack.artifacts import Artifact, Lock, cached_path, registry_dir
from weir.stack.downloads import ensure_artifacts

JAR = b"a jar " * 1000


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_of({"quarkus-run.jar": b"runner", "lib/main/one.jar": b"library"})


@dataclass
class Repository:
    """A Maven repository on a free port; ``truncate`` cuts every body short of its announced length."""

    files: dict[str, bytes] = field(default_factory=dict)
    truncate: bool = False
    requested: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    offered = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offered.requested.append(self.path)
            content = offered.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if offered.truncate else content)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    offered.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("WEIR_MAVEN_URL", offered.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield offered
    server.shutdown()
    thread.join()
    server.server_close()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # jgo leaves the response of a refused download to the collector
        gc.collect()


def locked(name: str, content: bytes, classifier: str, packaging: str) -> Artifact:
    digest = hashlib.sha256(content).hexdigest()
    return Artifact("org.example", name, "1.0", classifier, packaging, digest, len(content))


def offer(repository: Repository, jar: bytes = JAR, archive: bytes = ARCHIVE) -> None:
    repository.files["/org/example/jar/1.0/jar-1.0.jar"] = jar
    repository.files["/org/example/registry/1.0/registry-1.0-all.tar.gz"] = archive


def lock_of(jar: bytes = JAR, archive: bytes = ARCHIVE) -> Lock:
    return Lock((locked("jar", jar, "", "jar"),), locked("registry", archive, "all", "tar.gz"))


def fill(cache: Path, lock: Lock) -> Path:
    return ensure_artifacts(Console(quiet=True), cache, lock)


def files_in(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def test_a_filled_cache_holds_the_jars_and_the_unpacked_registry(repository: Repository, tmp_path: Path) -> None:
    offer(repository)
    lock = lock_of()
    cache = fill(tmp_path / "cache", lock)
    assert cached_path(lock.kafka[0], cache).read_bytes() == JAR
    assert (registry_dir(lock, cache) / "quarkus-run.jar").read_bytes() == b"runner"
    assert (registry_dir(lock, cache) / "lib/main/one.jar").read_bytes() == b"library"
    assert len(files_in(cache)) == 4, "the jar, two unpacked files and the lock; nothing of the download is left"


def test_a_filled_cache_asks_nobody(repository: Repository, tmp_path: Path) -> None:
    offer(repository)
    fill(tmp_path, lock_of())
    assert repository.requested
    repository.requested.clear()
    fill(tmp_path, lock_of())
    assert repository.requested == []


def test_a_damaged_cached_file_is_fetched_again_and_only_that(repository: Repository, tmp_path: Path) -> None:
    offer(repository)
    lock = lock_of()
    fill(tmp_path, lock)
    place = cached_path(lock.kafka[0], tmp_path)
    place.write_bytes(JAR[:-1] + b"X")
    repository.requested.clear()
    fill(tmp_path, lock)
    assert place.read_bytes() == JAR
    assert {path.split("/")[3] for path in repository.requested} == {"jar"}


def test_a_truncated_download_leaves_nothing_under_a_final_name(repository: Repository, tmp_path: Path) -> None:
    offer(repository)
    repository.truncate = True
    with pytest.raises(StackError, match=r"(jar-1.0.jar|registry-1.0-all.tar.gz) could not be downloaded"):
        fill(tmp_path, lock_of())
    assert files_in(tmp_path) == ["lock"]


def test_a_file_with_another_checksum_is_refused(repository: Repository, tmp_path: Path) -> None:
    offer(repository, jar=JAR.replace(b"a", b"b"))
    with pytest.raises(StackError, match="jar-1.0.jar is broken: it does not have its locked size and checksum"):
        fill(tmp_path, lock_of())
    assert not cached_path(lock_of().kafka[0], tmp_path).exists()


def test_a_repository_without_the_file_is_named_by_its_cure(repository: Repository, tmp_path: Path) -> None:
    repository.files["/org/example/jar/1.0/jar-1.0.jar"] = JAR
    with pytest.raises(StackError, match="does not have org.example:registry:1.0:all:tar.gz; set WEIR_MAVEN_URL"):
        fill(tmp_path, lock_of())


def test_without_network_the_sentence_says_what_to_do(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_MAVEN_URL", "http://127.0.0.1:1")
    with pytest.raises(StackError, match="the first start needs the network. Connect and start again"):
        fill(tmp_path, lock_of())
    assert files_in(tmp_path) == ["lock"]


def test_an_archive_that_reaches_outside_its_folder_is_refused(repository: Repository, tmp_path: Path) -> None:
    evil = archive_of({"quarkus-run.jar": b"runner", "../../escaped": b"evil"})
    offer(repository, archive=evil)
    with pytest.raises(StackError, match="cannot be unpacked"):
        fill(tmp_path / "cache", lock_of(archive=evil))
    assert not any(path.name == "escaped" for path in tmp_path.rglob("*"))
    assert not registry_dir(lock_of(archive=evil), tmp_path / "cache").exists()


def test_an_unusable_cache_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="cache folder .* cannot be used .*set WEIR_CACHE_DIR"):
        fill(tmp_path / "file" / "cache", lock_of())
