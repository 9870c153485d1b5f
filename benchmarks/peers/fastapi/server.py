"""A plain route in two processes: one picture a request, no batching, in FastAPI's thread pool as its pages advise."""

from typing import Annotated

from fastapi import Body, FastAPI
from work import Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/classify")
def classify(picture: Annotated[bytes, Body(media_type="image/*")]) -> dict:
    """The raw body is the picture."""
    return classifier.answer([picture])[0]
