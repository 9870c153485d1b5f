"""Between the socket and the route: middleware, bodies, uploads, deadlines, query parameters."""
