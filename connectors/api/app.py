"""The one place that puts the API together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from anyio import to_thread
from fastapi import FastAPI

from connectors.api.authentication import Authentication
from connectors.api.bodies import BodyGuard
from connectors.api.command_watch import CommandWatch
from connectors.api.errors import Refusal, add_error_answers
from connectors.api.last_resort import LastResort
from connectors.api.observation import Observation
from connectors.api.path_segments import PathSegments
from connectors.api.refusal_log import Allowance, RefusalLog
from connectors.api.routes import (
    commands,
    devices,
    entities,
    events,
    keys,
    metrics,
    organisations,
    processes,
    projects,
    relationships,
    schemas,
    sensors,
    service,
    sessions,
    users,
)
from connectors.api.session_tokens import SessionTokens
from connectors.api.verified_keys import VerifiedKeys
from weir.settings import Settings

THREADS: Final = 16
"""Requests that are worked on side by side. Each may hold a connection, and the embedded Postgres takes 60 in all."""

SUBJECTS: Final = (
    service,
    sessions,
    organisations,
    projects,
    devices,
    sensors,
    commands,
    users,
    keys,
    entities,
    relationships,
    schemas,
    metrics,
    processes,
    events,
)
MEANINGS: Final = {
    400: "The request cannot be read.",
    401: "No credentials, or none that hold.",
    403: "The caller's role does not allow this.",
    404: "There is no such thing, or not for this caller.",
    409: "It clashes with what is there; nothing was written.",
    413: "The body is too large.",
    422: "What was asked for does not fit; nothing was written.",
    503: "The metadata database is away.",
}


def make_app(settings: Settings, draining: Callable[[], bool] = lambda: False) -> FastAPI:
    """The application of these settings; once ``draining`` nobody waits for commands any longer."""
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": meaning} for status, meaning in MEANINGS.items()
    }
    app = FastAPI(
        title="Weir",
        summary="Metadata: organisations to sensors, who may do what, and commands to devices.",
        version=version("weir"),
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        responses=answers,
        lifespan=_life,
        redirect_slashes=False,  # a redirect would tell which routes exist
    )
    dsn = settings.postgres.dsn.get_secret_value()
    secret = settings.api.session_secret
    app.state.settings = settings
    app.state.tokens = SessionTokens(secret.get_secret_value() if secret else None)
    app.state.watch = CommandWatch(dsn, draining)
    for subject in SUBJECTS:
        app.include_router(subject.router)
    add_error_answers(app)
    # the last one added is the first that a request meets
    app.add_middleware(PathSegments)
    app.add_middleware(BodyGuard, settings=settings.api)
    app.add_middleware(
        Authentication, dsn=dsn, tokens=app.state.tokens, verified=VerifiedKeys(settings.api.verified_seconds)
    )
    app.add_middleware(RefusalLog, dsn=dsn, allowance=Allowance())
    app.add_middleware(LastResort)
    app.add_middleware(Observation)
    return app


@asynccontextmanager
async def _life(_: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
