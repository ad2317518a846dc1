"""Equal bits for every number of rounds per job and of cores."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from .harness import KINDS, VARIED, Project


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The tiny study with a job per stage and round."""
    project = Project.create(
        tmp_path_factory.mktemp("staged") / "project", rounds_per_job=1, keep_updates=[2, 3]
    )
    project.snakemake(cores=2)
    return project


def test_a_job_per_stage_and_a_job_per_span_give_the_same_bytes(finished, staged):
    assert staged.rows() == finished.rows()
    assert len(staged.rows()) == 2 * len(KINDS)


@pytest.mark.parametrize(("rounds_per_job", "cores"), [(1, 2), (3, 1)])
def test_states_coordinates_backdoors_and_compositions_give_the_same_bytes(
    varied, tmp_path, rounds_per_job, cores
):
    project = Project.create(tmp_path / "project", **VARIED, rounds_per_job=rounds_per_job)
    project.snakemake(cores=cores)
    assert project.rows() == varied.rows()
    assert len(project.rows()) == 3 * len(KINDS)


def test_the_varied_study_uses_what_it_is_for(varied):
    runs = {run.name.split("-")[2]: run for run in varied.runs()}
    tables = {
        attack: {kind: pq.read_table(run / f"{kind}.parquet").to_pandas() for kind in KINDS}
        for attack, run in runs.items()
    }
    for attack, rows in tables.items():
        metrics = rows["metrics"]
        assert metrics["accuracy"].equals(metrics["argmax_accuracy"]) == (attack != "scaling")
        assert metrics["attack_success_rate"].notna().all() == (attack != "mimic")
        assert rows["aggregates"]["round"].tolist() == [1, 2, 3, 4]
        assert rows["aggregates"]["benign_distance"].gt(0).all()
        assert (len(rows["layers"]) == 4 * 3 * 4) == (attack == "mimic")
    mimic, attacks = tables["mimic"], tables["neurotoxin"]
    assert mimic["layers"]["accepted"].notna().sum() == 4 * 2 * 4
    assert mimic["clients"]["accepted_share"].between(0, 1, inclusive="neither").any()
    assert attacks["clients"].groupby("round")["attacking"].sum().tolist() == [0, 3, 0, 3]
    # the aggregate is farther from the benign mean in the rounds with an attack
    distance = attacks["aggregates"]["benign_distance"]
    assert distance[[0, 2]].max() < distance[[1, 3]].min()
    states = {
        attack: {
            party: pq.read_table(run / "spans" / "3-4" / f"{party}_state.parquet")[
                "name"
            ].to_pylist()
            for party in ("attack", "defense")
        }
        for attack, run in runs.items()
    }
    assert states["mimic"]["attack"]
    assert states["scaling"]["defense"]
    assert states["neurotoxin"]["attack"]
    assert "1.weight/centre" in states["neurotoxin"]["defense"]


def test_one_core_and_other_spans_give_the_same_bytes(finished, tmp_path):
    project = Project.create(tmp_path / "project", rounds_per_job=3, keep_updates=[2, 3])
    project.snakemake(cores=1)
    assert project.rows() == finished.rows()


def test_every_stage_of_a_round_is_a_job_with_its_files(staged):
    run = staged.run("skymask")
    stages = {"model", "attack_state", "defense_state", "clients", "aggregates", "layers"}
    assert stages <= {path.stem for path in (run / "rounds" / "3").iterdir()}
    timings = pq.read_table(run / "timings.parquet").to_pandas()
    assert set(timings["stage"]) == {"train", "attack", "aggregate", "evaluate"}
    assert timings.groupby("round").size().tolist() == [3, 4, 3, 4]


def test_the_timings_of_a_span_add_up_to_the_time_of_its_job(finished):
    for run in finished.runs():
        rows = pq.read_table(run / "timings.parquet").to_pandas()
        parts = rows[rows["stage"].isin(["start", "read", "write", "other"])]
        # each of the two jobs, in the rows of its last round
        assert parts.groupby("round")["stage"].apply(list).to_dict() == {
            last: ["start", "read", "write", "other"] for last in (2, 4)
        }
        assert (parts["seconds"] > 0).all()
        stages = rows[~rows.index.isin(parts.index)]
        assert stages.groupby("round").size().tolist() == [3, 4, 3, 4]
        for first, last in ((1, 2), (3, 4)):
            span = rows[rows["round"].between(first, last)]
            # Snakemake measures from before the start of the process to after its end; most of
            # its processor time is in the rows, however busy the machine is
            folder = finished.folder / "results/benchmarks/span" / run.name
            benchmark = pd.read_csv(folder / f"{first}-{last}.tsv", sep="\t").iloc[0]
            assert 0.5 * benchmark["cpu_time"] < span["seconds"].sum() < benchmark["s"] + 0.1


def test_updates_are_temporary_unless_kept(staged):
    for run in staged.runs():
        assert not list(run.glob("rounds/*/*updates.parquet"))
        updates = pq.read_table(run / "updates.parquet")
        assert updates["round"].to_pylist() == [2] * 12 + [3] * 12
        assert sum(updates["malicious"].to_pylist()) == 6
        assert updates.schema.field("1.weight").type.list_size == 64 * 64


def test_kept_updates_do_not_depend_on_the_rounds_per_job(staged, tmp_path):
    project = Project.create(tmp_path / "project", defense="krum", keep_updates=[2, 3])
    project.snakemake()
    (run,) = project.runs()
    twin = staged.folder / "results" / "runs" / run.name
    assert (run / "updates.parquet").read_bytes() == (twin / "updates.parquet").read_bytes()


def test_more_rounds_with_a_job_per_stage_compute_only_the_new_ones(staged, tmp_path):
    project = staged.clone(tmp_path / "project")
    project.set_study(rounds=6, rounds_per_job=1, keep_updates=[2, 3])
    planned = project.planned()
    # rounds 5 and 6 of two runs, their rows, tables and figures
    stages = {"train": 4, "attack": 4, "aggregate": 4, "evaluate": 2}
    shown = {"study_tables": 1, "figure": 4, "overview": 1}
    assert planned == {**stages, "collect": 2, **shown}


def test_running_statistics_give_the_same_bytes(tmp_path):
    # with two rounds per job they pass once in memory and once through a file
    kept = {"model": "resnet20", "clients": 4, "partition": "iid", "samples_per_client": 20}
    kept |= {"root_size": 20, "defense": "skymask", "rounds": 3, "evaluate_every": 1}
    staged, spans = (
        Project.create(tmp_path / str(number), **kept, rounds_per_job=number) for number in (1, 2)
    )
    staged.snakemake()
    spans.snakemake()
    assert staged.rows() == spans.rows()
    model = pq.read_table(staged.runs()[0] / "rounds" / "3" / "model.parquet")
    assert model.equals(pq.read_table(spans.runs()[0] / "spans" / "3-3" / "model.parquet"))
    assert any(value != 1 for value in model["stem_norm.running_var"].to_pylist()[0])
