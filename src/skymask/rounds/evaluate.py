"""Stage 4: what the global model is worth."""

from torch import Tensor

from skymask.evaluation import Quality
from skymask.evaluation import evaluate as evaluate_model
from skymask.rounds.federation import Federation


def evaluate(federation: Federation, global_parameters: Tensor) -> Quality:
    """Accuracy and loss of the global model on the whole test set."""
    axis = federation.experiment.softmax_axis
    return evaluate_model(federation.model, global_parameters, federation.test, axis)
