"""`python -m service`: serve every bundle in a folder over HTTP. `--check` only tests whether that would work."""

import argparse
import gc
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from engines.base import EngineError
from models.errors import LongtailError
from service.catalog.loader import computes_in_caller, loader
from service.catalog.preload import Preloader
from service.kubernetes import is_written_by_kubernetes
from service.server.free_ports import require_free_ports
from service.server.shared_folder import require_shared_folder
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.context import Context

__all__ = ["command_line", "main"]

log = logging.getLogger("longtail.settings")
EPILOG = "Every setting is also an environment variable: --max-pixels is LONGTAIL_MAX_PIXELS. Flags win."


def command_line() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        usage="%(prog)s [-h] [--check] [--SETTING VALUE ...]",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load every model, run one batch on each, print the result and exit; exit code 2 if a model is refused",
    )
    Settings.add_flags(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the service and return the exit code.

    0 after a clean stop, 2 if a setting, the models folder or the database needs the user's attention. A process that
    must be replaced exits with `service.server.graceful_server.FAILED`.
    """
    flags = vars(command_line().parse_args(arguments))
    check = flags.pop("check")
    logging.basicConfig(format="%(levelname)-8s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = Settings.read(os.environ, flags)
        if not check:
            require_free_ports(settings)
            require_shared_folder(settings)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.getLogger("longtail").setLevel(settings.log_level.upper())
    if injected := sorted(name for name, value in os.environ.items() if is_written_by_kubernetes(name, value)):
        log.info("ignored variables that Kubernetes writes for its Services: %s", ", ".join(injected))
    return _run(settings, check=check)


def _run(settings: Settings, *, check: bool) -> int:
    load = loader(settings)
    if computes_in_caller(settings):  # other engines time their warm-up, which imports in this thread would slow down
        load = Preloader(settings.models, load)  # loads models while the imports below run
    gc.disable()  # imported modules stay: collecting garbage among them only costs time
    try:
        from service.app import create_app  # noqa: PLC0415
        from service.server.launch import serve, serve_in_processes  # noqa: PLC0415
        from service.storage.database import DatabaseTooNewError  # noqa: PLC0415
    finally:
        gc.enable()
    try:
        app = create_app(settings, load)
    except (LongtailError, EngineError, SettingsError, DatabaseTooNewError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if check:
        return _report(app.context)
    if settings.workers > 1:
        del app, load  # loading has succeeded; each process loads its own
        gc.collect()
        return serve_in_processes(settings)
    return serve(app, settings)


def _report(context: "Context") -> int:
    """Print what `--check` found; return 2 if a bundle in the models folder is refused or no model is in service."""
    for served in context.registry:
        manifest = served.bundle.manifest
        images = served.batch_policy.max_images
        pixels = np.zeros((images, manifest.input.height, manifest.input.width, 3), np.uint8)
        started = time.perf_counter()
        served.engine.run(pixels)
        milliseconds = 1000 * (time.perf_counter() - started)
        points = ", ".join(f"{name} {point.alpha:.3g}" for name, point in manifest.operating_points.items())
        print(
            f"{served.name} version {manifest.version}: {len(manifest.classes)} classes, "
            f"{manifest.input.width}x{manifest.input.height} px, {served.engine.description}; "
            f"a batch of {images} took {milliseconds:.1f} ms; alpha: {points}"
        )
    print(f"database {context.database}: {'its tables are up to date' if context.database.ready else 'NOT reachable'}")
    for refusal in context.catalog.refused():
        where = refusal.name if refusal.version is None else f"{refusal.name}/{refusal.version}"
        print(f"error: {where} is refused: {refusal.reason}", file=sys.stderr)
    if context.catalog.refused() or not any(context.registry):
        return 2
    print("ok: every model is loaded, warmed up and gives finite outputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
