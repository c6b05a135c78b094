"""One run of the demo: make devices known, send, wait until all is stored and closed, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from connectors.contracts import contracts
from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry, value_subject
from weir.demo.bad_records import BadRecords
from weir.demo.dead_letters import DeadLetterWatch
from weir.demo.fleet import Fleet, device_ids
from weir.demo.host import Host, host_device_id
from weir.demo.interrupt import Interrupt
from weir.demo.latency import PROBE_ID, LatencyProbe
from weir.demo.ledger import Ledger, Uplink
from weir.demo.live_view import LiveView, Moment
from weir.demo.parity import Scope, Series, compare_run
from weir.demo.progress import StageProgress
from weir.demo.reading import Framing, Reading
from weir.demo.registration import HELLO, ORGANISATION, register_demo
from weir.demo.result import Result
from weir.demo.running_stack import RunningStack
from weir.demo.sending import Sender
from weir.demo.stored import StoredRun
from weir.demo.worker_metrics import MetricsPages, WorkerMetrics
from weir.errors import ConfigError, TransientError
from weir.settings import Settings
from weir.verify.recompute import HOUR_MS, MINUTE_MS
