"""The application: builds every part of the service, and starts and stops them in order."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.access.authorization import Access
from service.access.openapi_security import describe_access
from service.catalog.catalog import Catalog
from service.catalog.load_commands import COMMANDS_VARIABLE, LoadCommands
from service.catalog.loader import loader
from service.catalog.networks import Networks
from service.catalog.reconciler import Reconciler
from service.context import Context, Lifecycle
from service.feedback.drift import DriftMonitor
from service.feedback.kept_results import KeptResults
from service.feedback.store import FeedbackStore
from service.inference.admission import BodyBudget
from service.inference.cache import ResponseCache
from service.inference.decoding_warm_up import warm_up_decoding
from service.inference.registry import Registry, ServedModel
from service.inference.worker import Worker
from service.jobs.heavy_queries import heavy_query_executor
from service.jobs.runner import JobRunner
from service.jobs.store import JobStore
from service.metrics import Metrics
from service.openinference.rpc.start import require_grpc, start_rpc
from service.process_metrics import BuildInfo
from service.routes import alpha, classify, health, infer, models, openinference, operating_points, tune
from service.routes import feedback as feedback_routes
from service.routes import jobs as job_routes
from service.routes.documentation_page import add_documentation
from service.routes.playground_page import add_playground
from service.schemas.document import CONTACT, LICENSE, SERVERS, TAGS, finish_document
from service.server.connection import FLOW_CONTROL
from service.server.launch import configure_process
from service.settings import Settings
from service.storage.database import Database, StorageUnavailableError
from service.storage.operating_points import OperatingPoints
from service.web.direct_route import DirectRoute
from service.web.middleware import RequestEnvelope, add_error_handlers
from service.web.request_form import as_application_sees_it

__all__ = ["app_from_environment", "create_app"]

log = logging.getLogger("longtail.app")
DESCRIPTION = """
Image classifiers trained on long-tailed data. Every request may say with one number, **alpha**, how much of the learnt
preference for frequent classes is taken out of its prediction: 0 is the plain classifier, and each model has named
operating points. The network runs once per picture, however many values of alpha a request asks for.
"""


class Application(FastAPI):
    """FastAPI's application behind the request envelope, which answers direct routes itself."""

    context: Context
    envelope: RequestEnvelope
    methods_of_paths: dict[str, set[str]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            scope = as_application_sees_it(scope)
        scope["app"] = self
        scope["longtail.context"] = self.context
        try:
            await self.envelope(scope, receive, send)
            if flow := scope.get(FLOW_CONTROL):
                await flow.drain()  # an answer that the client has not read yet is still in memory
        finally:
            self.context.body_budget.give_back(scope)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with the scope that each call needs, in the form that generators read."""
        if self.openapi_schema is None:
            document = super().openapi()
            finish_document(document)
            describe_access(document)
        return super().openapi()


def create_app(settings: Settings, load: Callable[[Path], ServedModel] | None = None) -> Application:
    """Load and warm up the models in the models folder, and return the application.

    Args:
        settings: the service's settings.
        load: loads the bundle in a folder and warms it up; by default as the settings say.

    Raises:
        models.errors.BundleError: the models folder does not exist.
        engines.base.EngineError: the device is not available; or no model can be served and the folder is not watched.
        service.storage.database.DatabaseTooNewError: a later version of Longtail wrote the database.
        service.settings.SettingsError: grpcio is not installed but gRPC is on; or the file of API keys cannot be used.

    """
    require_grpc(settings)
    context = _make_context(settings, load or loader(settings))
    app = Application(
        title="Longtail",
        description=DESCRIPTION,
        version="1",
        license_info=LICENSE,
        contact=CONTACT,
        servers=SERVERS,
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: route.name,  # the name of a method in a generated client
        lifespan=_lifespan_of(context),
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    app.context = app.state.context = context
    routers = (
        classify.router,
        alpha.pictures,
        alpha.router,
        tune.router,
        operating_points.router,
        feedback_routes.labels,
        feedback_routes.router,
        job_routes.router,
        models.router,
        infer.router,
        openinference.router,
        health.router,
    )
    for router in routers:
        app.include_router(router)
    add_documentation(app)
    add_playground(app)
    add_error_handlers(app, context.metrics)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    app.methods_of_paths = {each.path: set() for each in routes if each.include_in_schema}
    for route in routes:
        app.methods_of_paths.get(route.path, set()).update(route.methods or ())
    direct_routes = [route for route in routes if isinstance(route, DirectRoute)]
    app.envelope = RequestEnvelope(super(Application, app).__call__, context.access, context.metrics, direct_routes)
    return app


def app_from_environment() -> FastAPI:
    """Return an application built from the LONGTAIL_* variables. Each of several server processes calls this."""
    app = create_app(Settings.read(os.environ))
    configure_process()
    return app


def _make_context(settings: Settings, load: Callable[[Path], ServedModel]) -> Context:
    """Build every part; `_lifespan_of` starts them."""
    access = Access(settings)  # first, so that a broken key file is reported before models are loaded
    warm_up_decoding()
    metrics = Metrics()
    metrics.add_shared(BuildInfo(device=settings.device, precision=settings.precision))
    registry = Registry()
    database = Database(settings.database_url)
    lifecycle = Lifecycle()
    points = OperatingPoints(database)
    worker = Worker(
        inference_threads=settings.inference_threads,
        decode_threads=settings.decode_threads,
        max_pending_images=settings.max_pending_images,
        max_pixels=settings.max_pixels,
        cache=ResponseCache(int(settings.cache_mb * 1e6), metrics),
        metrics=metrics,
        stuck_seconds=settings.stuck_seconds,
        fail=lifecycle.fail,
    )
    results, feedback, drift_monitor = _open_feedback(settings, registry, metrics, database, points)
    networks = Networks(database, registry, results)
    catalog = _open_catalog(settings, registry, load, networks, metrics)
    _migrate(database)
    return Context(
        settings=settings,
        registry=registry,
        catalog=catalog,
        worker=worker,
        body_budget=BodyBudget(settings.max_pending_mb),
        metrics=metrics,
        lifecycle=lifecycle,
        database=database,
        networks=networks,
        operating_points=points,
        results=results,
        feedback=feedback,
        drift_monitor=drift_monitor,
        jobs=JobRunner(JobStore(database)),
        heavy_queries=heavy_query_executor(),
        access=access,
    )


def _lifespan_of(context: Context) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the lifespan: it starts the parts, and stops them in reverse order, the database last."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context.worker.start()
        await context.networks.start()
        await asyncio.to_thread(context.operating_points.start)
        context.results.start()
        context.drift_monitor.start()
        context.catalog.start()
        context.lifecycle.started = True
        rpc = asyncio.create_task(_serve_rpc(context, await start_rpc(context, app.version)))
        yield
        context.lifecycle.draining = True
        context.lifecycle.closed_to_new_work.set()
        await rpc
        await asyncio.to_thread(context.catalog.close)
        await context.jobs.close()
        await context.worker.close()
        for part in (
            context.heavy_queries,
            context.drift_monitor,
            context.results,
            context.operating_points,
            context.database,
        ):
            await asyncio.to_thread(part.close)

    return lifespan


async def _serve_rpc(context: Context, server: Any) -> None:
    """Serve gRPC until HTTP accepts no new requests either, then finish the accepted calls."""
    await context.lifecycle.closed_to_new_work.wait()
    if server is not None:
        await server.stop(context.settings.drain_seconds)


def _open_catalog(
    settings: Settings, registry: Registry, load: Callable[[Path], ServedModel], networks: Networks, metrics: Metrics
) -> Catalog:
    """Return the catalog with every model in the models folder loaded."""
    shared_file = os.environ.get(COMMANDS_VARIABLE)
    reconciler = Reconciler(
        settings.models,
        registry,
        load,
        networks,
        LoadCommands(Path(shared_file) if shared_file else None),
        metrics,
        watch_seconds=settings.watch_seconds,
        max_versions=settings.serve_versions,
    )
    catalog = Catalog(reconciler)
    catalog.load_all()
    return catalog


def _migrate(database: Database) -> None:
    """Migrate the database; if it is unavailable, start without it, because classification does not need it."""
    try:
        database.migrate()
    except StorageUnavailableError:
        log.warning(
            "starting without the database; feedback and stored operating points become available once it is reachable"
        )


def _open_feedback(
    settings: Settings, registry: Registry, metrics: Metrics, database: Database, points: OperatingPoints
) -> tuple[KeptResults, FeedbackStore, DriftMonitor]:
    results = KeptResults(database, metrics, keep=settings.keep_results, keep_seconds=settings.keep_results_seconds)
    feedback = FeedbackStore(database, results, registry, keep=settings.keep_feedback)
    drift_monitor = DriftMonitor(
        database,
        registry,
        feedback,
        results,
        lambda served, name: points.get(served.bundle.manifest, name).alpha,
        last=settings.drift_labels,
    )
    metrics.add_shared(drift_monitor)
    return results, feedback, drift_monitor
