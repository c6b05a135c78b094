"""The registry of metrics: what can be measured, in which unit, within which bounds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from connectors.api.request import DEFAULT_LIMIT, Acting, Cursor, Limit
from connectors.entities.metric_models import Metric, MetricCreate, MetricUpdate
from connectors.entities.pages import Page

router = APIRouter(prefix="/metrics", tags=["metrics"])


@router.get("")
def list_metrics(
    acting: Acting,
    regex: Annotated[str | None, Query(description=r"regular expression, such as ^greenhouse\.climate\..*")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Metric]:
    """By name; ``regex`` finds it anywhere in the name unless it begins with ^."""
    with acting.directory() as directory:
        return directory.metrics.list(regex=regex, limit=limit, cursor=cursor)


@router.post("", status_code=201)
def define_metric(new: MetricCreate, acting: Acting) -> Metric:
    """Define a metric; its name is everybody's."""
    with acting.directory() as directory:
        return directory.metrics.define(new)


@router.get("/{name:key}")
def read_metric(name: str, acting: Acting) -> Metric:
    """One metric."""
    with acting.directory() as directory:
        return directory.metrics.get(name)


@router.patch("/{name:key}")
def change_metric(name: str, update: MetricUpdate, acting: Acting) -> Metric:
    """Change what is given."""
    with acting.directory() as directory:
        return directory.metrics.update(name, update)
