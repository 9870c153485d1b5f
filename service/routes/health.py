"""GET /livez, /readyz, /metrics: for whoever watches the service."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.context import context_of
from service.schemas.common import ErrorResponse
from service.schemas.models import Health

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?", responses={503: {"model": ErrorResponse}})
async def livez(request: Request) -> Health:
    """200 as long as the event loop turns; 503 where a thread hangs or has died: the process is to be replaced."""
    context_of(request).check_alive()
    return Health(status="ok")


@router.get("/readyz", summary="May work be sent here?", responses={503: {"model": ErrorResponse}})
async def readyz(request: Request) -> Health:
    """Ready once a model is loaded and warmed up, and no longer once the server is told to stop.

    Models that come, go or are refused beside one that is served change nothing.
    """
    context_of(request).check_ready()
    return Health(status="ready")


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters and histograms in the Prometheus text format."""
    return Response(context_of(request).metrics.render(), media_type=CONTENT_TYPE_LATEST)
