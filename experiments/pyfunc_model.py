"""The MLflow face of a model folder (models from code): MLflow runs this file when it loads the model.

Prediction code is loaded from the folder itself, by path and under a name made of its content, so that two versions of
it never mix in one process and neither ``clv`` nor a pickle is needed.
"""

import hashlib
import sys
import types
from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


def _load_module(path: Path):  # type: ignore[no-untyped-def]
    name = f"clv_predictor_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        # Not through an import, which would leave bytecode in the artifact (half of it, if the disk is full).
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class ClvModel(PythonModel):  # type: ignore[misc]
    """Two-part customer lifetime value.

    Attributes
    ----------
    predictor
        The native model underneath.
    folder
        The model folder, with its figures.
    """

    def load_context(self, context):  # type: ignore[no-untyped-def]
        """Load the predictor from the artifact folder."""
        self.folder = Path(context.artifacts["model"])
        self.predictor = _load_module(self.folder / "predictor.py").Predictor.load(self.folder)

    def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]
        """Answer a frame of features with p_return, value_if_return, expected_value, interval and percentile."""
        return self.predictor.table(self.predictor.predict_parts(model_input))


set_model(ClvModel())
