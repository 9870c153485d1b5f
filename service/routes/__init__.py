"""The HTTP routes: each parses a request, hands it to the parts that do the work, and renders the answer."""
