"""The plain route as it is often written: with `async def`, although its work blocks the event loop."""

from fastapi import FastAPI, Request
from work import Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/classify")
async def classify(request: Request) -> dict:
    """Classify the picture in the raw body."""
    return classifier.answer([await request.body()])[0]
