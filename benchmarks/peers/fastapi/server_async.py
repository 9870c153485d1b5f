"""The plain route as it is often written: `async def`, though the work in it blocks the event loop."""

from fastapi import FastAPI, Request
from work import Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/classify")
async def classify(request: Request) -> dict:
    """The raw body is the picture."""
    return classifier.answer([await request.body()])[0]
