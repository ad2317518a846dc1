"""Where a run stands between two rounds."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Progress:
    """Where a run stands after a round: the global model [d] and what is remembered.

    ``statistics`` [s] are the model's running statistics; ``None`` for those it begins with.
    """

    global_parameters: Tensor
    attack_state: dict[str, Tensor] = field(default_factory=dict)
    defense_state: dict[str, Tensor] = field(default_factory=dict)
    statistics: Tensor | None = None
