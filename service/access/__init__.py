"""Access: API keys, scopes, and which pages may send requests."""
