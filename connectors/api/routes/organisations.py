"""Organisations: the tenants. A caller that is bound to one sees that one only."""

from __future__ import annotations

from fastapi import APIRouter

from connectors.api.request import Acting
from connectors.api.routes.entity_routes import NewEntity, add_entity_routes, made
from connectors.entities.models import Entity, EntityCreate

router = APIRouter(prefix="/organisations", tags=["organisations"])


@router.post("", status_code=201)
def make_organisation(new: NewEntity, acting: Acting) -> Entity:
    """Found a tenant; for superusers."""
    return made(acting, EntityCreate(entity_type="organisation", **new.model_dump()))


add_entity_routes(router, "organisation")
