"""Arrow schemas of all artifacts with rows, by their kind."""

import pyarrow as pa

from skymask.models.loss_names import TEST_BATCH


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    """Return a schema from names, types and descriptions."""
    return pa.schema([pa.field(n, t, metadata={"description": d}) for n, t, d in columns])


_CELL = (
    ("setting", pa.string(), "other keys of the study that vary, as name=value"),
    ("defense", pa.string(), "defense"),
    ("attack", pa.string(), "attack"),
)


def _cells(**metrics: str) -> pa.Schema:
    """Columns of a table of cells with the mean and the standard deviation of some metrics."""
    numbers = [
        (f"{metric}_{kind}", pa.float64(), f"{text}, {statistic} over seeds")
        for metric, text in metrics.items()
        for kind, statistic in (("mean", "mean"), ("std", "standard deviation (ddof 1)"))
    ]
    seeds = ("seeds", pa.int64(), "number of runs, one per pair of seeds")
    undefined = ("undefined", pa.string(), "why the cell has no run; null if it has")
    return _schema(*_CELL, seeds, undefined, *numbers)


SAMPLE_COLUMNS = {
    "label": "class, from 0",
    "group": "the sample's natural client, from 0; only where the data set has them",
    "features": "the sample, row by row; of uint8 one byte each",
}
"""Descriptions of the columns of ``samples``; the types depend on the data set."""

SCHEMAS: dict[str, pa.Schema] = {
    "partition": _schema(
        ("sample", pa.int32(), "index of the sample in the training data"),
        ("client", pa.int32(), "client that has the sample, from 0; -1: root data, -2: unused"),
    ),
    "metrics": _schema(
        ("round", pa.int32(), "round, from 1"),
        (
            "accuracy",
            pa.float64(),
            "share of test samples classified correctly, by the largest output; with "
            f"batch_softmax after a log-softmax over batches of {TEST_BATCH} samples, 0 to 1",
        ),
        (
            "argmax_accuracy",
            pa.float64(),
            "share of test samples whose largest output is that of their class, 0 to 1",
        ),
        ("loss", pa.float64(), "mean cross-entropy on test data, in nats; null if not finite"),
        (
            "attack_success_rate",
            pa.float64(),
            "share of triggered test samples of other classes classified as the target, by the "
            "measure of accuracy, 0 to 1; null without a backdoor",
        ),
    ),
    "aggregates": _schema(
        ("round", pa.int32(), "round, from 1"),
        (
            "fpr",
            pa.float64(),
            "share of benign clients rejected in the round, 0 to 1, in the mean over the "
            "coordinates; null in a round in which malicious clients do not attack",
        ),
        ("fnr", pa.float64(), "share of malicious clients accepted in the round, likewise"),
        ("attacker_weight", pa.float64(), "malicious clients' share of the weight, 0 to 1"),
        (
            "benign_distance",
            pa.float64(),
            "distance of the aggregate from the mean benign update, divided by that mean's norm",
        ),
        ("model_updated", pa.bool_(), "whether the global model changed in the round"),
        ("note", pa.string(), "why the global model did not change; null if it did"),
    ),
    "layers": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("layer", pa.string(), "layer of the model, by the name of its tensor"),
        (
            "role",
            pa.string(),
            "benign, malicious (clients that attack in the round) or server",
        ),
        (
            "accepted",
            pa.float64(),
            "share of these clients accepted in the layer, 0 to 1; null without such verdicts",
        ),
        (
            "switched_off",
            pa.float64(),
            "mean share of the layer that their masks switch off, 0 to 1; null without masks",
        ),
        ("unlike_server", pa.float64(), "mean share that differs from the server's mask, likewise"),
    ),
    "clients": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("client", pa.int32(), "client, from 0; -1: the server, only with SkyMask"),
        ("malicious", pa.bool_(), "whether the client is malicious; null for the server"),
        ("attacking", pa.bool_(), "whether it attacks in the round; null for the server"),
        (
            "accepted",
            pa.bool_(),
            "whether the defense accepts it, in at least one layer; null if it does not decide",
        ),
        (
            "accepted_share",
            pa.float64(),
            "share of the coordinates in which it is accepted, 0 to 1; null likewise",
        ),
        ("weight", pa.float64(), "weight of the update in the sum; null if not a weighted sum"),
        ("score", pa.float64(), "number by which the defense decides, as it defines it"),
        ("mask_1", pa.float64(), "first principal coordinate of the client's mask (SkyMask)"),
        ("mask_2", pa.float64(), "second principal coordinate of the client's mask (SkyMask)"),
        ("update_1", pa.float64(), "first principal coordinate of the client's update (SkyMask)"),
        ("update_2", pa.float64(), "second principal coordinate of the client's update (SkyMask)"),
        ("reason", pa.string(), "why the update was not aggregated; null if it was"),
        ("model_updated", pa.bool_(), "whether the global model changed in the round"),
    ),
    "timings": _schema(
        ("round", pa.int32(), "round, from 1; for start, read, write, other: the job's last"),
        (
            "stage",
            pa.string(),
            "train, attack, aggregate or evaluate; for jobs of many rounds also start (of the "
            "process, with its imports), read, write, and other (the rest of the time)",
        ),
        ("seconds", pa.float64(), "wall time, in seconds"),
        ("device", pa.string(), "device of the experiment: cpu, or cuda with an index"),
        (
            "peak_memory_mib",
            pa.float64(),
            "peak memory until then, in MiB: of the GPU, else of the process",
        ),
    ),
    "state": _schema(
        ("name", pa.string(), "name of the tensor that the attack or the defense remembers"),
        ("dtype", pa.string(), "its dtype, as NumPy names it"),
        ("shape", pa.list_(pa.int64()), "its sizes, outermost first"),
        ("data", pa.large_binary(), "its values, row by row, little-endian"),
    ),
    "runs": _schema(
        ("run", pa.string(), "name of the run, a folder of results/runs"),
        ("defense", pa.string(), "defense"),
        ("attack", pa.string(), "attack"),
        ("setting", pa.string(), "other keys of the study that vary, as name=value"),
        ("data_seed", pa.int64(), "seed of the partition and the root data"),
        ("training_seed", pa.int64(), "seed of all other random numbers"),
        ("rounds", pa.int32(), "number of rounds of the run in this study"),
        ("round", pa.int32(), "last evaluated round"),
        ("evaluations", pa.int32(), "evaluations averaged for the accuracy"),
        ("accuracy", pa.float64(), "mean test accuracy of those evaluations, 0 to 1"),
        ("argmax_accuracy", pa.float64(), "mean over those evaluations, by the largest output"),
        ("attack_success_rate", pa.float64(), "mean over those evaluations; null: no backdoor"),
        (
            "fpr",
            pa.float64(),
            "share of benign clients rejected, mean over the rounds with an attack (all rounds "
            "where there is none), 0 to 1",
        ),
        ("fnr", pa.float64(), "share of malicious clients accepted, likewise"),
        ("attacker_weight", pa.float64(), "attacker_weight of aggregates, likewise"),
        ("benign_distance", pa.float64(), "benign_distance of aggregates, mean over all rounds"),
    ),
    "accuracy": _cells(accuracy="final test accuracy, 0 to 1"),
    "argmax_accuracy": _cells(argmax_accuracy="final test accuracy by the largest output, 0 to 1"),
    "detection": _cells(
        fpr="share of benign clients rejected, 0 to 1",
        fnr="share of malicious clients accepted, 0 to 1",
    ),
    "got_through": _cells(
        attacker_weight="malicious clients' share of the weight, 0 to 1",
        benign_distance="distance from the mean benign update, divided by its norm",
    ),
    "attack_success": _cells(
        attack_success_rate="share of triggered samples classified as the target, 0 to 1",
        accuracy="final test accuracy, 0 to 1",
    ),
    "mask_layers": _schema(
        *_CELL,
        ("layer", pa.string(), "layer of the model, by the name of its tensor"),
        ("off_benign", pa.float64(), "share that the masks of benign clients switch off, 0 to 1"),
        ("off_malicious", pa.float64(), "the same for malicious clients; null: there are none"),
        ("off_server", pa.float64(), "the same for the server"),
        ("unlike_benign", pa.float64(), "share in which they differ from the server's, 0 to 1"),
        ("unlike_malicious", pa.float64(), "the same for malicious clients; null: there are none"),
    ),
    "layer_verdicts": _schema(
        *_CELL,
        ("layer", pa.string(), "layer of the model, by the name of its tensor"),
        ("accepted_benign", pa.float64(), "share of benign clients accepted in it, 0 to 1"),
        ("accepted_malicious", pa.float64(), "the same for malicious clients; null: none"),
    ),
    "published": _schema(
        *_CELL,
        ("figure", pa.string(), "accuracy, fpr, fnr, or below_fedavg: FedAvg's accuracy - ours"),
        ("seeds", pa.int64(), "number of runs, one per pair of seeds"),
        ("undefined", pa.string(), "why the cell has no run; null if it has"),
        ("ours_mean", pa.float64(), "our value, mean over seeds, % or points"),
        ("ours_std", pa.float64(), "its standard deviation (ddof 1); null with one seed"),
        (
            "published_low",
            pa.float64(),
            "published value, or lower end of its range; null: none",
        ),
        ("published_high", pa.float64(), "published value, or upper end of its range"),
        (
            "difference",
            pa.float64(),
            "ours - published, points; for a range the distance to its nearer end, 0 within",
        ),
        (
            "beyond_spread",
            pa.bool_(),
            "whether the absolute difference exceeds 2 ours_std; null with one seed",
        ),
        ("certainty", pa.string(), "how the published value is known"),
        ("source", pa.string(), "publication of the value"),
    ),
    "significance": _schema(
        ("setting", pa.string(), "other keys of the study that vary, as name=value"),
        ("attack", pa.string(), "attack"),
        ("defense", pa.string(), "SkyMask, or a variant of it"),
        ("accuracy_mean", pa.float64(), "its test accuracy, mean over seeds, 0 to 1"),
        ("baseline", pa.string(), "the best other defense, except oracle"),
        ("baseline_mean", pa.float64(), "its test accuracy, mean over seeds, 0 to 1"),
        ("seeds", pa.int64(), "number of pairs of runs with the same seeds"),
        ("difference", pa.float64(), "SkyMask's accuracy - the baseline's, mean over pairs"),
        ("low", pa.float64(), "lower end of its 95 % confidence interval; null: undefined"),
        ("high", pa.float64(), "upper end of its 95 % confidence interval; null: undefined"),
        ("p", pa.float64(), "p-value of the two-sided paired t-test; null: undefined"),
        ("p_holm", pa.float64(), "p-value after Holm's correction over the rows of the table"),
    ),
}
