"""A plain route in two processes, without batching, in FastAPI's thread pool as its documentation advises."""

from typing import Annotated

from fastapi import Body, FastAPI
from work import Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/classify")
def classify(picture: Annotated[bytes, Body(media_type="image/*")]) -> dict:
    """Classify the picture in the raw body."""
    return classifier.answer([picture])[0]
