"""Everything that knows uvicorn: connections, listening, shutdown, several processes."""
