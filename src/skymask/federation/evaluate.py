"""Stage 4: what the global model is worth."""

from dataclasses import replace

from torch import Tensor

from skymask.attacks import TRIGGERS
from skymask.contracts import own
from skymask.federation.federation import Federation
from skymask.federation.metrics import Quality, attack_success_rate
from skymask.federation.metrics import evaluate as evaluate_model


def evaluate(
    federation: Federation, global_parameters: Tensor, statistics: Tensor | None = None
) -> Quality:
    """Accuracy and loss of the global model on the whole test set, and a backdoor's success.

    ``statistics`` [s] are the model's running statistics; ``None`` for those it begins with.
    """
    run = federation.experiment
    model, test, axis = federation.model, federation.test, run.softmax_axis
    model.statistics.copy_(federation.initial_statistics() if statistics is None else statistics)
    quality = evaluate_model(model, global_parameters, test, axis)
    if run.attack.name not in TRIGGERS:
        return quality
    function, parameters = TRIGGERS[run.attack.name], run.attack.parameters
    rate = attack_success_rate(
        model,
        global_parameters,
        test,
        lambda features: function(features, **own(function, parameters)),
        parameters["target"],
        axis,
    )
    return replace(quality, attack_success_rate=rate)
