"""Jobs: work that takes longer than a request, its progress, and the executor for heavy queries."""
