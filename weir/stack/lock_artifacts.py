"""Write ``artifacts.lock``: ``python -m weir.stack.lock_artifacts [KAFKA_VERSION [REGISTRY_VERSION]]``.

For maintainers, to move to newer servers. Resolves Kafka's dependencies, downloads every file into a temporary folder,
and records checksums and sizes. Without versions it takes the ones that are locked now, which checks the lock.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext

from weir.stack.artifacts import Artifact, Lock, read_lock, sha256_of, write_lock

KAFKA = ("org.apache.kafka", "kafka_2.13")
REGISTRY = ("io.apicurio", "apicurio-registry-app")


def resolve(kafka_version: str, registry_version: str) -> Lock:
    """Resolve and download both servers, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        root, transitive = context.resolver.resolve([context.create_dependency(":".join((*KAFKA, kafka_version)))])
        jars = [dependency.artifact for dependency in root + transitive]
        jars.append(_logging_bridge(context, jars))
        archive = context.project(*REGISTRY).at_version(registry_version).artifact("all", "tar.gz")
        return Lock(tuple(_locked(jar) for jar in jars), _locked(archive))


def _logging_bridge(context: MavenContext, jars: list[Any]) -> Any:
    """Kafka logs through SLF4J 1 to log4j 2; the bridge must match log4j-core.

    It is not given to the resolver beside Kafka: jgo then takes log4j's own dependencyManagement for law, which turned
    kafka-clients 4.3.1 into 3.9.1.
    """
    (core,) = (jar for jar in jars if jar.artifactId == "log4j-core")
    return context.project(core.groupId, "log4j-slf4j-impl").at_version(core.version).artifact()


def _locked(artifact: Any) -> Artifact:
    path = artifact.resolve()
    return Artifact(
        group=artifact.groupId,
        name=artifact.artifactId,
        version=artifact.version,
        classifier=artifact.classifier,
        packaging=artifact.packaging,
        sha256=sha256_of(path),
        size=path.stat().st_size,
    )


def main(arguments: list[str]) -> None:
    """Lock the versions given, or those that are locked already."""
    if len(arguments) < 2:
        held = read_lock()
        arguments = [*arguments, *(held.kafka[0].version, held.registry.version)[len(arguments) :]]
    write_lock(resolve(arguments[0], arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
