"""How many rounds a job carries when the study leaves it open."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from skymask.attacks import ATTACKS, DATA_ATTACKS
from skymask.defenses import DEFENSES, PRE_AGGREGATORS
from skymask.jobs import costs, spans
from skymask.study.experiment import Method
from tests.support.federations import BASE

from .test_spans import NOWHERE, read


def test_what_is_told_of_methods_is_of_methods_that_exist():
    known = {*ATTACKS, *DATA_ATTACKS, *DEFENSES, *PRE_AGGREGATORS}
    assert set(costs.METHODS) <= known
    assert all(fixed > 0 and entry >= costs.ENTRY for fixed, entry in costs.METHODS.values())


def seconds(**changes):
    return costs.seconds_per_round(replace(BASE, **changes))


def test_more_work_takes_longer_and_more_threads_or_a_gpu_less():
    plain = seconds()
    for more in (
        {"clients": 12},
        {"samples_per_client": 120},
        {"local_epochs": 2},
        {"batch_size": 8},
        {"model": "small_cnn"},
        {"evaluate_every": 1},
        {"defense": Method("skymask")},
        {"defense": Method("krum", {}, (Method("nnm"),))},
        {"attack": Method("skymask_adaptive")},
    ):
        assert seconds(**more) > plain, more
    assert seconds(threads=2) < plain
    assert seconds(device="cuda:1") == seconds(device="cuda") < plain
    # all there is, dealt out
    assert seconds(samples_per_client=None, clients=10) > seconds(clients=10)


@pytest.mark.parametrize(
    ("of_a_round", "rounds", "expected"),
    [
        (0.01, 60, 60),  # one short job
        (1.0, 60, 60),
        (1.0, 120, 60),
        (1.0, 130, 65),  # equal jobs
        (1.0, 131, 66),  # 131 is prime: as near as it goes
        (1.4, 40, 40),
        (1.7, 300, 30),  # 8.5 jobs would do: ten are equal
        (59.0, 10, 2),
        (1000.0, 10, 2),  # one round would be another grain
        (1000.0, 1, 2),
        (15.0, 2000, 20),  # no more than a hundred jobs
        (0.01, 1, 2),
    ],
)
def test_a_job_takes_about_a_minute(monkeypatch, of_a_round, rounds, expected):
    monkeypatch.setattr(costs, "seconds_per_round", lambda run: of_a_round)
    assert costs.rounds_per_job(BASE, rounds) == expected


@pytest.mark.parametrize("rounds", [1, 2, 7, 40, 97, 100, 360, 2000])
@pytest.mark.parametrize("of_a_round", [0.001, 0.3, 2.0, 5.0, 50.0])
@pytest.mark.parametrize("minutes", [1, 0.5, 30])
def test_jobs_are_neither_many_nor_much_off_their_length(monkeypatch, of_a_round, rounds, minutes):
    monkeypatch.setattr(costs, "seconds_per_round", lambda run: of_a_round)
    each = costs.rounds_per_job(BASE, rounds, minutes)
    cut = spans.spans(NOWHERE, rounds, each)
    assert cut[-1][1] == rounds
    assert len(cut) <= costs.MOST_JOBS
    if len(cut) > 1 and each > 2 and len(cut) < costs.MOST_JOBS * 0.75:
        assert 0.6 * 60 * minutes < each * of_a_round < 1.6 * 60 * minutes
        assert cut[0][1] - cut[0][0] == cut[-2][1] - cut[-2][0]


def test_a_study_says_how_many_or_leaves_it_open():
    for given, expected in ((1, 1), (7, 7), ("auto", 10)):
        study = read(rounds_per_job=given)
        assert study.rounds_per_job == given
        assert spans.rounds_per_job(study, study.cells[0]) == expected
    assert read().rounds_per_job == "auto"


def test_every_run_of_a_study_has_jobs_of_its_own_length(monkeypatch):
    study = read(defense=["krum", "skymask"], rounds=360, evaluate_every=5)
    slow = {"krum": 0.5, "skymask": 2.0}
    monkeypatch.setattr(costs, "seconds_per_round", lambda run: slow[run.defense.name])
    lengths = {cell.defense: spans.rounds_per_job(study, cell) for cell in study.cells}
    assert lengths == {"krum": 120, "skymask": 30}
    longer = read(defense=["krum", "skymask"], rounds=360, evaluate_every=5, minutes_per_job=4)
    lengths = {cell.defense: spans.rounds_per_job(longer, cell) for cell in longer.cells}
    assert lengths == {"krum": 360, "skymask": 120}


def test_a_plan_is_the_same_when_some_of_it_has_run(monkeypatch, tmp_path):
    monkeypatch.setattr(costs, "seconds_per_round", lambda run: 1.3)
    study = read(rounds=200, evaluate_every=5)
    each = spans.rounds_per_job(study, study.cells[0])
    planned = spans.spans(tmp_path, 200, each)
    assert len(planned) == 4
    for first, last in planned:
        (tmp_path / "spans" / f"{first}-{last}").mkdir(parents=True)
        (tmp_path / "spans" / f"{first}-{last}" / "model.parquet").touch()
        assert spans.spans(tmp_path, 200, spans.rounds_per_job(study, study.cells[0])) == planned


def test_a_model_that_is_not_entered_can_be_planned():
    assert seconds(model="of somebody") == seconds(model="mlp")


def test_planning_does_not_load_torch():
    code = (
        "import sys, skymask.jobs.spans; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, check=False
    )
    assert done.returncode == 0


SOURCE = Path(costs.__file__).parents[2]
