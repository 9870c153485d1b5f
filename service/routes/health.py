"""GET /livez, /readyz and /metrics: routes for the systems that monitor the server."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.context import context_of
from service.metrics_format import choose_format
from service.schemas.common import ErrorResponse
from service.schemas.models import Health

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?", responses={503: {"model": ErrorResponse}})
async def check_liveness(request: Request) -> Health:
    """200 while the event loop runs. 503 if a thread hangs or has died; the process has to be replaced."""
    context_of(request).check_alive()
    return Health(status="ok")


@router.get("/readyz", summary="Is the server ready for requests?", responses={503: {"model": ErrorResponse}})
async def check_readiness(request: Request) -> Health:
    """200 once a model is loaded and warmed up, until the server is told to stop; 503 otherwise.

    Other models that are loaded, removed or refused meanwhile make no difference.
    """
    context_of(request).check_ready()
    return Health(status="ready")


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def read_metrics(request: Request) -> Response:
    """Counters and histograms in the Prometheus text format, or in OpenMetrics if the `Accept` header prefers that."""
    form = choose_format(",".join(request.headers.getlist("accept")))
    return Response(context_of(request).metrics.render(form), media_type=form.content_type, headers={"Vary": "Accept"})
