"""What one run is: everything that determines its numbers, and nothing else.

Two studies that ask for the same experiment share its run.  How many rounds are wanted and how
they are cut into jobs is not part of it: a longer run continues a shorter one.  This module
imports nothing heavy; the Snakefile uses it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

SCHEMA_VERSION = 4
"""Version of the artifacts; a change makes every cached file stale.  Since 4 they are sealed."""

SERVER = -1
"""The server's number among the clients."""


@dataclass(frozen=True)
class Method:
    """An attack, a defense, or a partition: its registry name and all its parameters.

    ``pre_aggregators`` act on the updates before a defense, in this order.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    pre_aggregators: tuple["Method", ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Method":
        """Read back what ``dataclasses.asdict`` makes of a method."""
        before = tuple(map(cls.from_dict, values.get("pre_aggregators", ())))
        return cls(**{**values, "pre_aggregators": before})


@dataclass(frozen=True)
class Experiment:
    """One run: a cell of a grid, with one data seed and one training seed.

    ``malicious`` counts the clients that attack; ``assumed_malicious`` is what the server reckons
    with, ``None`` for a defense that does not ask.  Learning rates are per step; ``evaluate_every``
    counts rounds; ``threads`` and ``device`` are here because they can change the last bits.
    """

    dataset: str
    model: str
    partition: Method
    clients: int
    samples_per_client: int | None
    root_size: int | None
    root_bias: float | None
    root_share: float | None = field(default=None, kw_only=True)
    attack: Method
    malicious: int
    defense: Method
    assumed_malicious: int | None
    local_epochs: int
    batch_size: int
    local_lr: float
    global_lr: float
    gradient_clip: float | None
    softmax_axis: Literal["class", "batch"]
    training_precision: Literal["float32", "bfloat16"]
    evaluate_every: int
    data_seed: int
    training_seed: int
    device: str
    threads: int

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits over the canonical form."""
        return _digest({"schema": SCHEMA_VERSION, **asdict(self)})

    @property
    def run(self) -> str:
        """The run's name: a readable slug and the hash."""
        seeds = f"{self.data_seed}.{self.training_seed}"
        defense = "_".join(m.name for m in (*self.defense.pre_aggregators, self.defense))
        names = (self.dataset, self.model, self.attack.name, defense, seeds, self.hash)
        return "-".join(names)

    @property
    def partition_spec(self) -> dict[str, Any]:
        """What the split of the training data depends on."""
        keys = ("dataset", "clients", "samples_per_client", "data_seed")
        root = ("root_size", "root_bias", "root_share")
        values = {key: getattr(self, key) for key in (*keys, *root)}
        return {**values, "partition": asdict(self.partition)}

    @property
    def partition_id(self) -> str:
        """The partition's name: shared by all runs that split the data alike."""
        digest = _digest({"schema": SCHEMA_VERSION, **self.partition_spec})
        return f"{self.dataset}-{self.partition.name}-{self.data_seed}-{digest}"

    def evaluates(self, round_: int) -> bool:
        """Whether ``round_`` (from 1) is evaluated: every ``evaluate_every`` rounds.

        The last round of a run is no exception, so that a longer run has the rows of a shorter one.
        """
        return round_ % self.evaluate_every == 0

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, one line per key."""
        return json.dumps({"run": self.run, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """Read ``to_json`` back.  Raises ValueError when it is no experiment of this version."""
        try:
            values = json.loads(text)
            run = values.pop("run")
            for key in ("partition", "attack", "defense"):
                values[key] = Method.from_dict(values[key])
            experiment = cls(**{f.name: values.pop(f.name) for f in fields(cls)}, **values)
            name = experiment.run
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is not an experiment: {error!r}") from error
        if name != run:
            raise ValueError(f"this was written for run {run}, but reads as {name}")
        return experiment


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
