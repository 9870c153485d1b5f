"""Access control: API keys, scopes, and which origins may send requests from a browser."""
