"""What `mlflow models serve` runs for a registered generator; MLflow copies this file.

A record asks for `count` images of the noise `seed`; the answer has a PNG (base64) for each image.
"""

from __future__ import annotations

import base64
import io

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class GeneratorModel(PythonModel):
    """Draws images from an exported generator."""

    def predict(self, context, model_input: list[dict[str, int]], params=None) -> list[str]:  # type: ignore[no-untyped-def]
        """The images of all records, one after the other, each a PNG in base64."""
        from PIL import Image

        from dcgan import generate

        answer = []
        for asked in model_input:
            images = generate(context.artifacts["model"], asked["count"], seed=asked["seed"])
            for image in images:
                file = io.BytesIO()
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
                answer.append(base64.b64encode(file.getvalue()).decode("ascii"))
        return answer


set_model(GeneratorModel())
