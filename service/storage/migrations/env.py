"""Alembic runs this file: with the service's connection when the service starts, with one of its own by hand."""

import os

from alembic import context
from sqlalchemy import Connection, NullPool

from service.settings import Settings
from service.storage.migrate import CONNECTION
from service.storage.sql_engines import make_engine, read_url
from service.storage.tables import metadata


def run(connection: Connection) -> None:
    """Run what was asked for; SQLite changes a table by making it anew, which is Alembic's batch mode."""
    context.configure(
        connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite", compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()


ours = context.config.attributes.get(CONNECTION)
if ours is None:
    engine = make_engine(read_url(Settings.read(os.environ).database_url), connections=1, pool=NullPool)
    with engine.connect() as connection:
        run(connection)
else:
    run(ours)
