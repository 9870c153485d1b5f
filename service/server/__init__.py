"""The HTTP server: connections, listening, shutdown and several processes. The only package that imports uvicorn."""
