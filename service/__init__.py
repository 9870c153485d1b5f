"""How a model is served: HTTP in, one batched run, alpha per image, HTTP out."""
