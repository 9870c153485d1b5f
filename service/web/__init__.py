"""What lies between the HTTP server and the routes: middleware, bodies, forms, deadlines, query parameters."""
