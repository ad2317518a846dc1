"""Experiments: all that determines the results of a run.

Studies with the same experiment share its run.  The number of rounds and their division into jobs
are not part of an experiment: a longer run continues a shorter one.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from skymask.models.loss_names import LossName
from skymask.study.attack_rounds import attacks_in

SCHEMA_VERSION = 5
"""Version of the artifacts; a change makes every cached file outdated."""

SERVER = -1
"""Index of the server, among those of the clients."""


@dataclass(frozen=True)
class Method:
    """An attack, a defense or a partition.

    Attributes:
        name: Name in the registry.
        parameters: All parameters by name, defaults included.
        pre_aggregators: Methods that transform the updates before a defense, in this order.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    pre_aggregators: tuple["Method", ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Method":
        """Return the method that ``dataclasses.asdict`` made ``values`` of."""
        before = tuple(map(cls.from_dict, values.get("pre_aggregators", ())))
        return cls(**{**values, "pre_aggregators": before})


@dataclass(frozen=True)
class Experiment:
    """The specification of one run: a cell of a grid, with its two seeds.

    The attributes are the keys of a study file, except for these:

    Attributes:
        malicious: Number of malicious clients.
        assumed_malicious: Number of malicious clients that the server assumes; None for a defense
            that does not use it.
        threads: Threads of a job; like ``device`` part of the experiment because it can change
            the last bits of results.
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
    loss: LossName
    training_precision: Literal["float32", "bfloat16"]
    evaluate_every: int
    data_seed: int
    training_seed: int
    device: str
    threads: int

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits of a SHA-256 hash of all attributes."""
        return _digest({"schema": SCHEMA_VERSION, **asdict(self)})

    @property
    def run(self) -> str:
        """The name of the run: names of its parts, seeds and hash."""
        seeds = f"{self.data_seed}.{self.training_seed}"
        defense = "_".join(m.name for m in (*self.defense.pre_aggregators, self.defense))
        names = (self.dataset, self.model, self.attack.name, defense, seeds, self.hash)
        return "-".join(names)

    @property
    def partition_spec(self) -> dict[str, Any]:
        """The attributes that the split of the training data depends on."""
        keys = ("dataset", "clients", "samples_per_client", "data_seed")
        root = ("root_size", "root_bias", "root_share")
        values = {key: getattr(self, key) for key in (*keys, *root)}
        return {**values, "partition": asdict(self.partition)}

    @property
    def partition_id(self) -> str:
        """The name of the partition, shared by all runs with the same split of the data."""
        digest = _digest({"schema": SCHEMA_VERSION, **self.partition_spec})
        return f"{self.dataset}-{self.partition.name}-{self.data_seed}-{digest}"

    def evaluates(self, round_: int) -> bool:
        """Return whether a round, counted from 1, is evaluated.

        Only each ``evaluate_every``-th is, also at the end: a longer run has the rows of a
        shorter one.
        """
        return round_ % self.evaluate_every == 0

    def attacks(self, round_: int) -> bool:
        """Return whether malicious clients, if there are any, attack in a round, from 1."""
        return attacks_in(round_, **self.attack.parameters.get("attack_rounds", {}))

    def to_json(self) -> str:
        """Return the experiment as JSON with sorted keys, one line per key."""
        return json.dumps({"run": self.run, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """Return the experiment that ``to_json`` wrote.

        Raises:
            ValueError: The text is not an experiment of this version.
        """
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
