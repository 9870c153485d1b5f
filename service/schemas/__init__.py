"""The shapes of requests and answers as the documentation page shows them, with examples from a real model."""
