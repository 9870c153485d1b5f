"""MLServer: a custom runtime with adaptive batching and two workers, over the Open Inference Protocol with base64."""

import json

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from work import Classifier


class Runtime(MLModel):
    """A runtime with one input of pictures and one output of JSON texts."""

    async def load(self) -> bool:
        """Load the model; MLServer calls this in each worker process."""
        self.classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify a batch that MLServer has merged from several requests."""
        pictures = Base64Codec.decode_input(payload.inputs[0])
        texts = [json.dumps(answer) for answer in self.classifier.answer(pictures)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answers", texts)])
