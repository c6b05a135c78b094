"""The worker's metrics in Prometheus' text format, on its own web port under ``/metrics``."""

from __future__ import annotations

import faust
from faust.types.web import Request, Response, View
from prometheus_client import generate_latest


def add_metrics_page(app: faust.App) -> None:
    """Serve ``/metrics``."""

    @app.page("/metrics", name="metrics")
    async def metrics(view: View, request: Request) -> Response:
        return view.text(generate_latest().decode(), content_type="text/plain")
