"""The one place that builds the Faust app: ``faust -A streams.app worker -l info``, or ``weir worker``."""

from __future__ import annotations

import logging
from typing import Any

import faust

from streams.broker_credentials import broker_credentials
from streams.engine.crash import CrashingApp
from streams.engine.loop_pause import LoopPauses
from streams.events.relay_service import add_relay
from streams.metrics_page import add_metrics_page
from streams.telemetry.agents import add_agents
from streams.telemetry.alert_events import add_alert_events
from weir.settings import Settings, load_settings


def create_app(settings: Settings) -> faust.App:
    """Build the app with every stream on it; nothing connects before it starts."""
    settings.worker.data_dir.mkdir(parents=True, exist_ok=True)  # Faust makes the last folder only
    app = CrashingApp(
        f"{settings.namespace}.faust",
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")],
        broker_credentials=broker_credentials(settings.kafka),
        store="memory://",
        datadir=str(settings.worker.data_dir),
        web_bind=settings.worker.web_host,
        web_host=settings.worker.web_host,
        web_port=settings.worker.web_port,
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_session_timeout=settings.stream.session_timeout_seconds,
        broker_heartbeat_interval=min(3.0, settings.stream.session_timeout_seconds / 5),
    )
    # while the broker is away it writes forty lines a second; librdkafka says the same now and then
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    add_agents(app, settings)
    add_alert_events(app, settings)
    add_relay(app, settings)
    add_metrics_page(app)
    app.service(LoopPauses())  # type: ignore[arg-type]  # it takes instances, too
    return app


def __getattr__(name: str) -> Any:
    """Build ``app`` when somebody asks for it, so that importing this module reads no settings."""
    if name == "app":
        globals()["app"] = create_app(load_settings())
        return globals()["app"]
    raise AttributeError(name)
