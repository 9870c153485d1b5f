"""The database: SQLite or PostgreSQL, its tables and migrations, and the operating points stored in it."""
