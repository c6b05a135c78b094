"""Apicurio Registry, which speaks Confluent's schema registry API under ``/apis/ccompat/v7``.

It keeps its schemas in a database of our Postgres: it starts in 2.6 s with that, a compacted topic (kafkasql) would
have to be read first and make two parts of the stack depend on the broker's offsets.
"""

from __future__ import annotations

import psycopg

from weir.errors import StackError
from weir.stack.artifacts import read_lock, registry_dir
from weir.stack.child import Command
from weir.stack.parts.part import Part, Run, fresh_scratch, http_answers, java
from weir.stack.plan import HOST

DATABASE = "registry"
API = "/apis/ccompat/v7"
JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1")
"""The first compiler is enough: a worker asks for each schema once."""


class Registry(Part):
    """The schema registry."""

    name = "registry"

    @property
    def ports(self) -> dict[str, int]:
        """The API, and Quarkus' management pages, which would otherwise listen on all addresses at 9000."""
        return {
            "the registry": self.plan.port("registry"),
            "the registry's management": self.plan.port("registry_management"),
        }

    @property
    def needs(self) -> tuple[str, ...]:
        """Its storage."""
        return ("postgres",)

    def prepare(self, run: Run) -> None:
        """Create its database the first time; it makes its tables itself."""
        fresh_scratch(self.plan.part_dir("registry"))
        try:
            with psycopg.connect(self._maintenance_dsn, autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
                if found is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.Error as error:
            raise StackError(f"The registry's database could not be made in Postgres: {error}.") from None

    @property
    def _maintenance_dsn(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.plan.port('postgres')}/postgres"

    def command(self) -> Command:
        """Quarkus' runner with everything on the loopback address."""
        runner = registry_dir(read_lock(), self.cache) / "quarkus-run.jar"
        return Command(
            [*java(self.plan.part_dir("registry")), *JVM, "-jar", str(runner)], environment=self._environment()
        )

    def _environment(self) -> dict[str, str]:
        return {
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(self.plan.port("registry")),
            "QUARKUS_MANAGEMENT_HOST": HOST,
            "QUARKUS_MANAGEMENT_PORT": str(self.plan.port("registry_management")),
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "postgresql",
            "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{HOST}:{self.plan.port('postgres')}/{DATABASE}",
            "APICURIO_DATASOURCE_USERNAME": "postgres",
            "APICURIO_DATASOURCE_PASSWORD": "",
            "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "2",
            "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "2",
            "APICURIO_DATASOURCE_JDBC_MAX_SIZE": "10",
            "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            # Confluent's DELETE is refused without these
            "APICURIO_REST_DELETION_GROUP_ENABLED": "true",
            "APICURIO_REST_DELETION_ARTIFACT_ENABLED": "true",
            "APICURIO_REST_DELETION_ARTIFACT_VERSION_ENABLED": "true",
        }

    def healthy(self) -> bool:
        """Whether it lists its subjects, which reads its storage."""
        return http_answers(self.port, f"{API}/subjects")
