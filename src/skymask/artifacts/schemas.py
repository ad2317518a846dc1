"""Arrow schemas of all row artifacts."""

import pyarrow as pa


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(n, t, metadata={"description": d}) for n, t, d in columns])


SCHEMAS: dict[str, pa.Schema] = {
    "partition": _schema(
        ("sample", pa.int32(), "index of the sample in the training data"),
        ("client", pa.int32(), "who holds it: a client, -1 the root data, -2 nobody"),
    ),
    "metrics": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("accuracy", pa.float64(), "share of test samples classified rightly, 0 to 1"),
        ("loss", pa.float64(), "mean cross-entropy on the test data, nats; null if not finite"),
        (
            "attack_success_rate",
            pa.float64(),
            "share of triggered test samples of other classes called the target; null: no backdoor",
        ),
    ),
    "aggregates": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("fpr", pa.float64(), "share of benign clients rejected in this round"),
        ("fnr", pa.float64(), "share of malicious clients accepted in this round"),
        ("attacker_weight", pa.float64(), "attackers' share of the aggregate's weight, 0 to 1"),
        (
            "benign_distance",
            pa.float64(),
            "distance of the aggregate to the benign mean, in its length",
        ),
        ("model_updated", pa.bool_(), "false where the global model stayed as it was"),
        ("note", pa.string(), "why the global model stayed as it was; null if it moved"),
    ),
    "layers": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("layer", pa.string(), "layer of the model"),
        ("role", pa.string(), "benign, malicious or server"),
        ("switched_off", pa.float64(), "share of the layer that SkyMask's masks switch off, mean"),
        ("unlike_server", pa.float64(), "share in which they differ from the server's mask, mean"),
    ),
    "clients": _schema(
        ("round", pa.int32(), "round, from 1"),
        ("client", pa.int32(), "client, from 0; -1 is the server, present with mask coordinates"),
        ("malicious", pa.bool_(), "the client attacks; null for the server"),
        ("accepted", pa.bool_(), "the defense's verdict; null where it gives none"),
        ("weight", pa.float64(), "coefficient of the update in the aggregate; null if not linear"),
        ("score", pa.float64(), "the figure the verdict rests on, as the defense defines it"),
        ("mask_1", pa.float64(), "first principal coordinate of the client's mask (SkyMask)"),
        ("mask_2", pa.float64(), "second principal coordinate of the client's mask (SkyMask)"),
        ("update_1", pa.float64(), "first principal coordinate of the client's update (SkyMask)"),
        ("update_2", pa.float64(), "second principal coordinate of the client's update (SkyMask)"),
        ("reason", pa.string(), "why the client was not aggregated; null if it was"),
        ("model_updated", pa.bool_(), "false where the global model stayed as it was"),
    ),
    "timings": _schema(
        ("round", pa.int32(), "round, from 1; of a job's start, read, write and other: its last"),
        (
            "stage",
            pa.string(),
            "train, attack, aggregate or evaluate; of a job of many rounds also start (of the "
            "process, with its imports), read, write, and other: the rest of its time",
        ),
        ("seconds", pa.float64(), "wall-clock seconds"),
        ("device", pa.string(), "where it ran"),
        (
            "peak_memory_mib",
            pa.float64(),
            "peak memory so far, MiB: of the device, else the process",
        ),
    ),
    "state": _schema(
        ("name", pa.string(), "name of the remembered tensor"),
        ("dtype", pa.string(), "its dtype"),
        ("shape", pa.list_(pa.int64()), "its shape"),
        ("data", pa.large_binary(), "its values, row by row, little-endian"),
    ),
    "runs": _schema(
        ("run", pa.string(), "name of the run, a folder of results/runs"),
        ("defense", pa.string(), "defense"),
        ("attack", pa.string(), "attack"),
        ("setting", pa.string(), "the other axes of the study that vary, as name=value"),
        ("data_seed", pa.int64(), "seed of the partition and the root data"),
        ("training_seed", pa.int64(), "seed of everything else"),
        ("rounds", pa.int32(), "number of rounds of the run in this study"),
        ("round", pa.int32(), "last evaluated round"),
        ("evaluations", pa.int32(), "evaluations averaged for the accuracy"),
        ("accuracy", pa.float64(), "mean test accuracy of those evaluations, 0 to 1"),
        ("attack_success_rate", pa.float64(), "mean over those evaluations; null: no backdoor"),
        ("fpr", pa.float64(), "benign clients rejected, share over all rounds"),
        ("fnr", pa.float64(), "malicious clients accepted, share over all rounds"),
        ("attacker_weight", pa.float64(), "attackers' share of the weight, mean over all rounds"),
        ("benign_distance", pa.float64(), "distance to the benign mean, mean over all rounds"),
    ),
}
