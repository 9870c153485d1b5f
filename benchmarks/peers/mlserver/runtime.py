"""MLServer: a custom runtime behind adaptive batching and two parallel workers, Open Inference Protocol with base64."""

import json

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from work import Classifier


class Runtime(MLModel):
    """One input of pictures, one output of JSON texts."""

    async def load(self) -> bool:
        """In each worker process."""
        self.classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The payload is a batch that MLServer has merged."""
        pictures = Base64Codec.decode_input(payload.inputs[0])
        texts = [json.dumps(answer) for answer in self.classifier.answer(pictures)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answers", texts)])
