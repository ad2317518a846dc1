"""Division of rounds into jobs, and the files of their rows."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skymask.jobs import spans as jobs_spans
from skymask.reporting import outputs
from skymask.study import grid as study_grid

BASE = {
    "study": "tiny",
    "dataset": "digits",
    "model": "mlp",
    "clients": 10,
    "samples_per_client": 10,
    "attack": "min_max",
    "defense": "krum",
    "rounds": 10,
    "evaluate_every": 1,
    "local_lr": 0.1,
    "final_evaluations": 1,
}
NOWHERE = Path("no/such/folder")


def read(**changes):
    return study_grid.read({**BASE, **changes})


def cell(**changes):
    return read(**changes).cells[0]


def make_spans(folder, *spans):
    """Make the models of the spans of an earlier run."""
    for first, last in spans:
        (folder / "spans" / f"{first}-{last}").mkdir(parents=True)
        (folder / "spans" / f"{first}-{last}" / "model.parquet").touch()
    return folder


@pytest.mark.parametrize(
    ("rounds", "rounds_per_job", "spans"),
    [
        (60, 60, [(1, 60)]),
        (60, 100, [(1, 60)]),
        (60, 20, [(1, 20), (21, 40), (41, 60)]),
        (50, 20, [(1, 20), (21, 40), (41, 50)]),
        (41, 20, [(1, 20), (21, 40), (41, 41)]),
        (1, 2, [(1, 1)]),
        (3, 2, [(1, 2), (3, 3)]),
        (60, 1, []),
    ],
)
def test_rounds_are_cut_into_spans(rounds, rounds_per_job, spans):
    assert jobs_spans.spans(NOWHERE, rounds, rounds_per_job) == spans


@pytest.mark.parametrize(
    ("earlier", "rounds", "rounds_per_job", "spans"),
    [
        # more rounds cost only the new ones
        ([(1, 50)], 60, 60, [(1, 50), (51, 60)]),
        ([(1, 50)], 60, 50, [(1, 50), (51, 60)]),
        ([(1, 20), (21, 40), (41, 50)], 60, 20, [(1, 20), (21, 40), (41, 50), (51, 60)]),
        # another grain keeps what is there and goes on in the new one
        ([(1, 60)], 60, 20, [(1, 60)]),
        ([(1, 20), (21, 40)], 60, 60, [(1, 20), (21, 40), (41, 60)]),
        ([(1, 20)], 60, 15, [(1, 20), (21, 35), (36, 50), (51, 60)]),
        # of two chains, the longer steps
        ([(1, 20), (1, 40), (21, 40)], 60, 20, [(1, 40), (41, 60)]),
        # and before that, the one that leads further
        ([(1, 30), (1, 20), (21, 40), (41, 50)], 60, 30, [(1, 20), (21, 40), (41, 50), (51, 60)]),
        ([(1, 30), (1, 20), (21, 40)], 30, 30, [(1, 30)]),
        # spans beyond the wanted rounds are of no use
        ([(1, 60)], 50, 25, [(1, 25), (26, 50)]),
        ([(1, 20), (21, 60)], 50, 50, [(1, 20), (21, 50)]),
        # a span that no chain reaches is of no use
        ([(21, 40)], 60, 30, [(1, 30), (31, 60)]),
        ([(21, 40)], 60, 20, [(1, 20), (21, 40), (41, 60)]),
        # at grain 1 there are no spans
        ([(1, 20)], 60, 1, []),
    ],
)
def test_an_earlier_chain_is_kept_and_continued(tmp_path, earlier, rounds, rounds_per_job, spans):
    assert jobs_spans.spans(make_spans(tmp_path, *earlier), rounds, rounds_per_job) == spans


def test_only_finished_spans_are_kept(tmp_path):
    make_spans(tmp_path, ("one", "two"), (1, "x"), ("", 30))
    (tmp_path / "spans" / "1-30").mkdir()  # begun, but without a model
    (tmp_path / "spans" / "1-20").mkdir()
    (tmp_path / "spans" / "1-20" / "clients.parquet").touch()
    (tmp_path / "spans" / "loose.parquet").touch()
    assert jobs_spans.spans(tmp_path, 60, 40) == [(1, 40), (41, 60)]


@settings(max_examples=60)
@given(
    rounds=st.integers(1, 40),
    rounds_per_job=st.integers(2, 50),
    earlier=st.sets(st.tuples(st.integers(1, 40), st.integers(0, 20)), max_size=6),
)
def test_spans_cover_every_round_once_in_order(tmp_path_factory, rounds, rounds_per_job, earlier):
    earlier = {(first, first + more) for first, more in earlier}
    cut = jobs_spans.spans(
        make_spans(tmp_path_factory.mktemp("run"), *earlier), rounds, rounds_per_job
    )
    covered = [r for first, last in cut for r in range(first, last + 1)]
    assert covered == list(range(1, rounds + 1))
    assert all(last - first < rounds_per_job or (first, last) in earlier for first, last in cut)


def test_planning_again_after_some_spans_ran_gives_the_same_plan(tmp_path):
    # jobs read the Snakefile again while others have finished
    planned = jobs_spans.spans(tmp_path, 50, 20)
    for count, span in enumerate(planned):
        make_spans(tmp_path, span)
        assert jobs_spans.spans(tmp_path, 50, 20) == planned, count


def test_the_previous_span_ends_before_the_first_round():
    cut = [(1, 20), (21, 40), (41, 60)]
    assert jobs_spans.previous_span(1, cut) is None
    assert jobs_spans.previous_span(21, cut) == (1, 20)
    assert jobs_spans.previous_span(41, cut) == (21, 40)
    assert jobs_spans.previous_span(30, cut) is None


def pieces(*arguments, staged):
    return [str(path) for path in jobs_spans.pieces(*arguments, staged=staged)]


@pytest.mark.parametrize("name", ["metrics", "clients", "aggregates", "layers", "timings"])
def test_the_pieces_of_spans_are_in_order(name):
    cut = [(1, 2), (3, 9), (10, 10)]
    assert pieces(Path("runs/a"), name, cell(), cut, staged=False) == [
        f"runs/a/spans/1-2/{name}.parquet",
        f"runs/a/spans/3-9/{name}.parquet",
        f"runs/a/spans/10-10/{name}.parquet",
    ]


def test_the_pieces_of_rounds_are_in_the_order_of_numbers():
    found = pieces(Path("runs/a"), "clients", cell(rounds=11), [], staged=True)
    # round 10 comes after 9, not after 1
    assert found == [f"runs/a/rounds/{r}/clients.parquet" for r in range(1, 12)]


@pytest.mark.parametrize("name", ["aggregates", "layers"])
def test_every_round_has_its_aggregate_and_layers_evaluated_or_not(name):
    found = pieces(Path("a"), name, cell(rounds=3, evaluate_every=3), [], staged=True)
    assert found == [f"a/rounds/{r}/{name}.parquet" for r in (1, 2, 3)]


def test_there_are_metrics_of_evaluated_rounds_only():
    sparse = cell(evaluate_every=4)
    found = pieces(Path("runs/a"), "metrics", sparse, [], staged=True)
    assert found == ["runs/a/rounds/4/metrics.parquet", "runs/a/rounds/8/metrics.parquet"]


def test_there_are_timings_of_every_stage_that_ran():
    found = pieces(Path("a"), "timings", cell(rounds=3, evaluate_every=2), [], staged=True)
    stages = {
        1: ["train", "attack", "aggregate"],
        2: ["train", "attack", "aggregate", "evaluate"],
        3: ["train", "attack", "aggregate"],
    }
    assert found == [f"a/rounds/{r}/timings/{s}.parquet" for r in stages for s in stages[r]]


def test_the_digest_of_a_study_is_of_what_its_tables_show():
    before = outputs.digest(read())
    assert len(before) == 16
    assert outputs.digest(read()) == before
    for nothing in (
        {"rounds_per_job": 1},
        {"keep_updates": [1]},
        {"data_folders": ["elsewhere"]},
    ):
        assert outputs.digest(read(**nothing)) == before
    changes = [
        {"rounds": 20},
        {"final_evaluations": 2},
        {"scatter_round": 3},
        {"defense": ["krum", "oracle"]},
        {"local_lr": 0.2},
        {"defense": ["krum", "trimmed_mean"], "malicious_share": 0.5},
        {"clients": [10, 11]},
    ]
    assert len({before, *(outputs.digest(read(**change)) for change in changes)}) == 8


# --- what a study shows -------------------------------------------------------------------------

MASKS = ["mask_scatter", "mask_geometry", "mask_layers"]
PLAIN = (["accuracy", "detection", "got_through", "runs"], ["accuracy_curves"])


@pytest.mark.parametrize(
    ("changes", "tables", "figures"),
    [
        ({}, [], []),
        (
            {"attack": ["none", "label_flip"], "defense": ["oracle", ["nnm", "krum"]]},
            [],
            ["heat_map"],
        ),
        ({"loss": "batch_softmax"}, ["argmax_accuracy"], []),
        ({"loss": ["cross_entropy", "logit_adjusted"]}, [], []),
        ({"attack": ["none", "dba"]}, ["attack_success"], ["triggered_samples"]),
        ({"attack": "scaling"}, ["attack_success"], ["triggered_samples"]),
        ({"attack": "lie_backdoor"}, ["attack_success"], ["triggered_samples"]),
        ({"defense": ["krum", "skymask"]}, ["mask_layers"], MASKS),
        ({"defense": [["nnm", "skymask"]]}, ["mask_layers"], MASKS),
        (
            {"attack": "dba", "defense": "skymask"},
            ["attack_success", "mask_layers"],
            ["triggered_samples", *MASKS],
        ),
    ],
)
def test_a_study_has_the_tables_and_figures_that_its_methods_fill(changes, tables, figures):
    found = read(**changes)
    assert outputs.tables(found) == PLAIN[0] + tables
    assert outputs.figures(found) == PLAIN[1] + figures


def test_cells_that_are_not_run_fill_no_table():
    # with nine of ten attacking the backdoor is not defined, nor is mixing without an honest client
    few = read(
        attack=["none", "lie_backdoor"],
        defense=["fedavg", ["nnm", "skymask"]],
        malicious_share=0.9,
        assumed_malicious=10,
    )
    undefined = {(c.attack, c.defense) for c in few.cells if c.undefined}
    assert len(undefined) == 3
    assert (outputs.tables(few), outputs.figures(few)) == PLAIN


def test_a_cell_is_backdoored_by_its_attack_and_masked_by_its_defense():
    grid = read(attack=["none", "label_flip", "scaling"], defense=["krum", ["nnm", "skymask"]])
    assert {c.attack for c in grid.cells if outputs.backdoored(c)} == {"scaling"}
    assert {c.defense for c in grid.cells if outputs.masked(c)} == {"nnm + skymask"}


def test_jobs_of_a_staged_study_are_counted():
    study = read(rounds_per_job=1, evaluate_every=3, keep_updates=[2], defense=["krum", "median"])
    # per run: the first model, three stages, the evaluations, the collected rows and updates
    assert jobs_spans.count_jobs(study) == 2 * (1 + 3 * 10 + 3 + 1 + 1)
    folder = Path("run")
    (cell, *_) = study.cells
    files = jobs_spans.pieces(folder, "timings", cell, [], staged=True)
    assert len(files) == 3 * 10 + 3


@pytest.mark.parametrize("grain", [2, 3, 10, 99, "auto"])
def test_jobs_of_spans_are_counted(grain):
    study = read(rounds_per_job=grain, rounds=[10, 25], data_seed=[1, 2])
    planned = [
        jobs_spans.spans(NOWHERE, cell.rounds, jobs_spans.rounds_per_job(study, cell))
        for cell in study.runs.values()
    ]
    # shorter and longer runs are the same run, once
    assert len(planned) == 2
    assert jobs_spans.count_jobs(study) == sum(map(len, planned)) + len(planned)


def test_more_jobs_than_allowed_are_refused_with_their_number():
    changes = {"rounds": 1_000_000, "rounds_per_job": 1}
    refusal = jobs_spans.too_many_jobs(read(**changes))
    assert refusal.startswith(
        "most_jobs: the study has about 4,000,002 jobs, and 100,000 are allowed; Snakemake would "
        "plan them for 6 hours or more. "
    )
    assert refusal.endswith("or allow them by most_jobs: 4000002")
    assert jobs_spans.too_many_jobs(read(**changes, most_jobs=4_000_002)) is None
    assert jobs_spans.too_many_jobs(read(most_jobs=1, rounds_per_job=10)).startswith(
        "most_jobs: the study has about 2 jobs, and 1 are allowed"
    )
    # at once, also for the longest run
    assert "4,000,000,002 jobs" in jobs_spans.too_many_jobs(read(**changes | {"rounds": 10**9}))
    assert jobs_spans.too_many_jobs(read(rounds=10**9, rounds_per_job="auto")) is None
