"""Model of a study file: its keys, their types, ranges and defaults."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from skymask.models.loss_names import LossName
from skymask.study.methods import (
    CONFIG,
    GIVEN_ONLY,
    LONGEST_NAME,
    Attack,
    Defense,
    Partition,
)
from skymask.study.validation import (
    Axis,
    DatasetName,
    Integer,
    ModelName,
    Number,
    Positive,
    folder,
    is_axis,
    mistake,
    mistakes,
    sentences,
)

SUFFIX = "_small"
"""What the name of a study ends with at its small scale, so that both scales have own tables."""

LearningRate = Annotated[Number, Field(gt=0, le=1e6)]

INVALID: Any = object()
"""Stands for a value of an axis whose mistake has been reported."""


def _key(description: str, default: Any = ...) -> Any:
    """Return the field of a key; one without a default is required."""
    return Field(default, description=description)


def _distinct(value: list[str]) -> list[str]:
    if len(set(value)) < len(value):
        raise mistake("has an axis twice: remove one")
    return value


def _full_scale(value: str) -> str:
    if value.endswith(SUFFIX):
        raise mistake(
            f"must not end with {SUFFIX}, as the tables of scale small do: choose another name"
        )
    return value


def _exclusion(value: Any) -> dict[str, list[Any]]:
    """Return the values of an exclusion, by axis."""
    if not isinstance(value, dict) or not value:
        raise mistake("must be a mapping from axes to values, such as {attack: none}")
    model = exclusion_model()
    try:
        parsed = model.model_validate(value, context=GIVEN_ONLY)
    except ValidationError as error:
        raise mistakes(sentences(error, model, "exclude", "axis")) from None
    return {key: flat(getattr(parsed, key)) for key in parsed.model_fields_set}


class StudyFile(BaseModel):
    """A study file: an experiment for each combination of its axes."""

    model_config = CONFIG

    study: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_]+$",
            max_length=LONGEST_NAME,
            json_schema_extra={"not": {"pattern": f"{SUFFIX}$"}},
        ),
        AfterValidator(_full_scale),
    ] = _key(
        "The name of the study, of at most 100 letters (A-Z, a-z), digits and underscores, without "
        "_small at its end; its tables are written to results/tables/{study}."
    )
    dataset: Axis[DatasetName] = _key("The name of the data set.")
    model: Axis[ModelName] = _key("The name of the model that is trained.")
    clients: Axis[Annotated[Integer, Field(ge=2, le=1_000_000)]] = _key("The number of clients.")
    partition: Axis[Partition] = _key(
        "How the training data is split among the clients.", {"name": "label_bias", "bias": 0.5}
    )
    samples_per_client: Axis[Positive | None] = _key(
        "The mean number of training samples of a client; null distributes all.", None
    )
    root_size: Axis[Positive] = _key(
        "The number of root samples of the server, taken out of the training data.", 100
    )
    root_bias: Axis[Annotated[Number, Field(ge=0, le=1)] | None] = _key(
        "The share of class 1 in the root data; null is unbiased.", None
    )
    root_share: Axis[Annotated[Number, Field(gt=0, lt=1)] | None] = _key(
        "The share of each natural client's samples that become root data, in place "
        "of root_size and root_bias; only with partition natural. null uses root_size.",
        None,
    )
    malicious_share: Axis[Annotated[Number, Field(ge=0, lt=1)]] = _key(
        "The share of the clients that are malicious.", 0.2
    )
    assumed_malicious: Axis[Annotated[Integer, Field(ge=0)] | None] = _key(
        "The number of malicious clients that the server assumes; null is the true number.", None
    )
    attack: Axis[Attack] = _key("The attack of the malicious clients.")
    defense: Axis[Defense] = _key(
        "The defense of the server, or a list of pre-aggregators and a defense."
    )
    rounds: Axis[Annotated[Positive, Field(le=1_000_000_000)]] = _key("The number of rounds.")
    evaluate_every: Axis[Positive] = _key(
        "The number of rounds from one evaluation to the next.", 5
    )
    local_epochs: Axis[Positive] = _key(
        "The number of passes over a client's samples in each round.", 1
    )
    batch_size: Axis[Positive] = _key("The number of samples in each step of SGD.", 32)
    local_lr: Axis[LearningRate] = _key(
        "The learning rate of the clients, per step of SGD; at most 1,000,000."
    )
    global_lr: Axis[LearningRate] = _key(
        "The learning rate of the server, per round; at most 1,000,000.", 1.0
    )
    gradient_clip: Axis[Annotated[Number, Field(gt=0)] | None] = _key(
        "The largest absolute value of a gradient's coordinates in local training; "
        "larger ones are clamped. null does not clip.",
        None,
    )
    loss: Axis[LossName] = _key(
        "The loss of local training, of the masks and of the evidence against a client: "
        "cross_entropy; batch_softmax, the loss of the code released with SkyMask and of the "
        "published figures; or logit_adjusted, cross-entropy corrected for the class frequencies "
        "of each party's own data.",
        "cross_entropy",
    )
    training_precision: Axis[Literal["float32", "bfloat16"]] = _key(
        "The precision of the layers in local training; bfloat16 is coarser, and "
        "faster where the processor supports it.",
        "float32",
    )
    data_seed: Axis[Annotated[Integer, Field(ge=0)]] = _key(
        "The seed of the partition and the root data.", 1
    )
    training_seed: Axis[Annotated[Integer, Field(ge=0)]] = _key(
        "The seed of everything else: initial model, malicious clients, batches and attack.", 1
    )
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$")] = _key(
        "Where the tensors are: cpu, cuda or cuda:N.", "cpu"
    )
    threads: Annotated[Positive, Field(le=4096)] = _key(
        "The number of threads of a job; it can change the last bits of results.", 1
    )
    paired: list[Annotated[list[str], Field(min_length=2), AfterValidator(_distinct)]] = _key(
        "Groups of axes that vary together instead of being crossed.", []
    )
    exclude: list[
        Annotated[
            dict[str, Any], PlainValidator(_exclusion), WithJsonSchema({"methods": "exclusion"})
        ]
    ] = _key(
        "Cells that are left out: each entry maps axes to a value or values, and "
        "leaves out the cells that have one of these values on every axis it names.",
        [],
    )
    rounds_per_job: Positive | Literal["auto"] = _key(
        "The number of rounds that one job computes: 1 makes a job of each stage of "
        "each round, auto takes as many rounds as last about minutes_per_job. Results do not "
        "depend on it.",
        "auto",
    )
    minutes_per_job: Annotated[Number, Field(gt=0)] = _key(
        "About how many minutes a job takes with rounds_per_job auto. Results do not "
        "depend on it. profiles/slurm sets more, because the jobs of a cluster wait in a queue.",
        1,
    )
    most_jobs: Positive = _key(
        "The largest number of jobs that Snakemake may plan for the study; each takes it about "
        "5 ms and 35 KB of memory. Results do not depend on it.",
        100_000,
    )
    keep_updates: Annotated[list[Positive], Field(json_schema_extra={"uniqueItems": True})] = _key(
        "The rounds whose updates are kept, in results/runs/{run}/updates.parquet.", []
    )
    final_evaluations: Positive = _key(
        "The number of last evaluations whose mean is the final accuracy of a run.", 5
    )
    scatter_round: Positive | None = _key(
        "The round whose mask coordinates are drawn; null is the last round.", None
    )
    data_folders: Annotated[list[Annotated[str, AfterValidator(folder)]], Field(min_length=1)] = (
        _key(
            "The folders in which data sets are looked for; downloads go to the first.",
            ["data", "/usr/share/datasets/fashion-mnist"],
        )
    )
    scale: Literal["full", "small"] = _key(
        "The scale of the study: full, or small with the values of the key small.", "full"
    )
    small: dict[str, Any] = _key("The keys that scale small replaces, with their values.", {})


AXES = {
    name: field
    for name, field in StudyFile.model_fields.items()
    if is_axis(field) or name in ("device", "threads")
}
"""The keys of which each run has a value of its own; each but device and threads can be a list."""


def flat(value: Any) -> list[Any]:
    """Return the values of an axis in one list; an item of a method is a list of methods."""
    items = value if isinstance(value, list) else [value]
    return [v for item in items for v in (item if isinstance(item, list) else [item])]


@cache
def exclusion_model() -> type[BaseModel]:
    """Return the model of an exclusion: every axis, none of them required."""
    fields: dict[str, Any] = {
        name: (Annotated[field.annotation, *field.metadata], _key(field.description or "", None))
        for name, field in AXES.items()
    }
    return create_model("Exclusion", __config__=CONFIG | {"validate_default": False}, **fields)


_VALID = {
    "study": "x",
    "dataset": "digits",
    "model": "mlp",
    "clients": 2,
    "attack": "none",
    "defense": "fedavg",
    "rounds": 1,
    "local_lr": 1.0,
}
"""A valid value of each key without a default."""


_ITEMS = {*AXES, "paired", "exclude"}
"""Keys whose lists are still used where some of their items are wrong."""


def validate(config: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check the values of a study file one by one.

    Returns:
        The values by key, defaults filled in, axes as lists; and a sentence for each mistake.  In
        place of a wrong value there is INVALID on an axis, and the default elsewhere, so that the
        rest can still be checked.
    """
    try:
        return dict(StudyFile.model_validate(config)), []
    except ValidationError as error:
        problems = sentences(error, StudyFile)
        places = [part["loc"] for part in error.errors(include_url=False)]
    wrong: dict[str, set[Any]] = {}
    for key, *rest in places:
        listed = rest and isinstance(config.get(key), list) and key in _ITEMS
        wrong.setdefault(str(key), set()).add(rest[0] if listed else None)
    repaired: dict[str, Any] = {}
    for key, field in StudyFile.model_fields.items():
        valid = _VALID.get(key, field.default)
        if key not in wrong:
            repaired |= {key: config[key]} if key in config else {}
        elif None in wrong[key]:
            repaired[key] = valid
        else:
            spare = [valid] if key in AXES else []
            items = enumerate(config[key])
            repaired[key] = [v for i, x in items for v in (spare if i in wrong[key] else [x])]
    values = dict(StudyFile.model_validate(repaired))
    for key in set(wrong) & set(AXES):
        if isinstance(values[key], list):
            kept = enumerate(values[key])
            values[key] = [INVALID if {i, None} & wrong[key] else v for i, v in kept]
    return values, problems
