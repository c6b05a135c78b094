"""Routes for whoever runs the API: is it alive, is it ready, what did it count. They need no credentials."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from weir.settings import Settings

router = APIRouter(tags=["service"])


class Wellbeing(BaseModel):
    """``status`` is ``ok``; what is not well is answered with another status of HTTP."""

    status: str = "ok"


@router.get("/health")
async def alive() -> Wellbeing:
    """The process answers."""
    return Wellbeing()


@router.get("/ready")
def ready(request: Request) -> Wellbeing:
    """It reaches its database, and the tables are there; 503 otherwise."""
    settings: Settings = request.app.state.settings
    with open_directory(settings.postgres.dsn.get_secret_value(), SYSTEM) as directory:
        directory.rows("SELECT FROM commands, api_keys, entities LIMIT 0")
    return Wellbeing()


@router.get("/prometheus", response_class=Response)
def counted() -> Response:
    """The metrics, in the text format of Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
