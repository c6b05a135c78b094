"""What every route takes from its request, as types of its arguments."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from connectors.api.authentication import Caller
from connectors.api.errors import UnauthorisedError
from connectors.entities.pages import MOST_ITEMS

BEARER = HTTPBearer(auto_error=False, description="a key (wr_…) or the token of a session (ws_…)")
KEY_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="a key (wr_…)")


def caller_of(
    request: Request,
    _bearer: Annotated[object, Security(BEARER)],
    _key: Annotated[object, Security(KEY_HEADER)],
) -> Caller:
    """Whom the authentication has let pass; the other arguments only stand in the OpenAPI document."""
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, Caller):
        raise UnauthorisedError
    return caller


Acting = Annotated[Caller, Depends(caller_of)]
Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="items of one page at most")]
Cursor = Annotated[str | None, Query(max_length=2_000, description="next_cursor of the page before")]
DEFAULT_LIMIT = 100
