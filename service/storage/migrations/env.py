"""Alembic runs this file. The service hands it a connection; on the command line it connects to a URL.

The URL comes from `alembic -x url=…` or from LONGTAIL_DATABASE, with its password in the file that
LONGTAIL_DATABASE_PASSWORD_FILE names, if that is set.
"""

import os
from pathlib import Path

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool

from service.storage.migrate import CONNECTION
from service.storage.sql_engines import make_engine, read_url, with_password
from service.storage.tables import metadata


def run_migrations(connection: Connection) -> None:
    """Run the requested migrations. SQLite changes a table by copying it, which Alembic calls batch mode."""
    context.configure(
        connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite", compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()


def url_from_command_line() -> str:
    """Return the database's URL.

    Raises:
        CommandError: neither the option nor the variable is given.

    """
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("LONGTAIL_DATABASE")
    if not url:
        raise CommandError("no database given; use `alembic -x url=sqlite:///runs/draft.db …` or set LONGTAIL_DATABASE")
    password_file = os.environ.get("LONGTAIL_DATABASE_PASSWORD_FILE")
    return with_password(url, Path(password_file)) if password_file else url


service_connection = context.config.attributes.get(CONNECTION)
if service_connection is None:
    engine = make_engine(read_url(url_from_command_line()), max_connections=1, pool=NullPool)
    with engine.connect() as own_connection:
        run_migrations(own_connection)
else:
    run_migrations(service_connection)
