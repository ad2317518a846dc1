"""Status of a study, from its artifacts and the logs of its jobs."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import skymask
from skymask import cli
from skymask.artifacts.records import write_rows
from skymask.jobs import costs, fingerprint, status
from skymask.jobs.log import JobLog, logged, read_log
from skymask.jobs.progress import meter
from skymask.study import grid, registry

STUDY = {
    "study": "s",
    "dataset": "digits",
    "model": "mlp",
    "clients": 12,
    "malicious_share": 0.25,
    "attack": "min_max",
    "defense": ["fedavg", "krum"],
    "data_seed": [1, 2],
    "rounds": 4,
    "rounds_per_job": 2,
    "evaluate_every": 2,
    "final_evaluations": 1,
    "local_lr": 0.1,
}


def read(**changes):
    return grid.read({**STUDY, **changes})


def runs_of(read_study):
    """The names of the runs by defense and data seed."""
    return {(cell.defense, cell.experiment.data_seed): run for run, cell in read_study.runs.items()}


def finish(results, run, first, last, seconds):
    """A span of rounds that is done, half of its time in the stages."""
    folder = results / "runs" / run / "spans" / f"{first}-{last}"
    parts = [(first, "train", seconds / 2), (last, "start", seconds / 2)]
    rows = [{"round": r, "stage": stage, "seconds": s} for r, stage, s in parts]
    write_rows(folder / "timings.parquet", "timings", run, rows)
    (folder / "model.parquet").write_text("")


def job(path, body):
    """A process of its own that logs to ``path``, once it has begun."""
    code = f"from skymask.jobs.log import logged\nwith logged({str(path)!r}):\n    {body}\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, **silent)
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the job did not begin"
        time.sleep(0.02)
    return process


@pytest.fixture
def start_sleeper():
    """A function that starts a job that sleeps, from the path of its log."""
    started = []

    def start(path):
        started.append(job(path, "import time; time.sleep(300)"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def sleeper(start_sleeper, tmp_path):
    """A job that sleeps, and its log."""
    return start_sleeper(tmp_path / "alive.log"), tmp_path / "alive.log"


def test_a_log_tells_a_job_that_runs(sleeper):
    process, path = sleeper
    assert read_log(path) == JobLog("running", process.pid, os.uname().nodename)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_log_tells_a_job_that_was_killed(sleeper, reaped):
    process, path = sleeper
    process.send_signal(signal.SIGKILL)
    if reaped:
        process.wait()
    else:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert read_log(path).state == "stopped"


def test_a_log_tells_a_job_that_was_interrupted(tmp_path):
    path = tmp_path / "log"
    assert job(path, "raise KeyboardInterrupt").wait() != 0
    assert read_log(path).state == "stopped"


def test_a_log_tells_a_job_that_is_done_though_it_prints_at_its_end(tmp_path):
    path = tmp_path / "log"
    process = job(path, "import atexit; atexit.register(print, 'bye'); print('hello')")
    assert process.wait() == 0
    assert read_log(path).state == "done"
    assert path.read_text().splitlines()[1:] == ["hello", "skymask: done", "bye"]


def test_a_log_tells_a_job_that_failed_in_one_line(tmp_path):
    path = tmp_path / "log"
    assert job(path, "raise ValueError('no data:\\n  look elsewhere')").wait() == 1
    found = read_log(path)
    assert (found.state, found.error) == ("failed", "ValueError: no data: look elsewhere")
    assert "Traceback" in path.read_text()


def test_another_process_with_the_same_number_is_not_the_job(sleeper, tmp_path):
    process, path = sleeper
    # no process writes to the copy
    (tmp_path / "copy.log").write_text(path.read_text())
    assert read_log(tmp_path / "copy.log").state == "stopped"
    assert read_log(path).state == "running"
    assert process.poll() is None


def test_where_the_file_system_has_no_locks_the_number_of_the_process_decides(sleeper, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    process, path = sleeper
    assert read_log(path).state == "running"
    process.kill()
    process.wait()
    assert read_log(path).state == "stopped"


def test_a_job_on_another_host_counts_as_running(tmp_path):
    path = tmp_path / "log"
    path.write_text("skymask: begun by process 999999999 on elsewhere\n")
    assert read_log(path) == JobLog("running", 999999999, "elsewhere")


def test_a_log_of_another_form_and_none_at_all(tmp_path):
    (tmp_path / "log").write_text("something else\n")
    assert read_log(tmp_path / "log").state == "unknown"
    assert read_log(tmp_path / "missing") is None


def test_a_second_try_begins_the_log_anew(tmp_path):
    path = tmp_path / "log"
    job(path, "raise ValueError('once')").wait()
    job(path, "pass").wait()
    assert read_log(path).state == "done"


@pytest.fixture
def estimated(monkeypatch):
    """Estimates: 3 seconds for a round of krum, 1 second for one of fedavg."""
    monkeypatch.setattr(
        costs, "seconds_per_round", lambda run: 3.0 if run.defense.name == "krum" else 1.0
    )


@pytest.mark.usefixtures("estimated")
def test_a_study_with_runs_in_every_state(tmp_path, start_sleeper, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    read_study = read()
    runs = runs_of(read_study)
    logs = {key: tmp_path / "logs" / "span" / run for key, run in runs.items()}
    for path in logs.values():
        path.mkdir(parents=True)
    finish(tmp_path, runs["fedavg", 1], 1, 2, 10.0)
    finish(tmp_path, runs["fedavg", 1], 3, 4, 10.0)
    finish(tmp_path, runs["fedavg", 2], 1, 2, 14.0)
    process = start_sleeper(logs["fedavg", 2] / "3-4.log")
    job(logs["krum", 1] / "1-2.log", "raise ValueError('bad data')").wait()
    killed = start_sleeper(logs["krum", 2] / "1-2.log")
    killed.kill()
    killed.wait()

    with (logs["fedavg", 2] / "3-4.log").open("a") as log:
        log.write(meter(3, 4, 1.0, before=2) + "\n")
    found = {one.run: one for one in status.progress(read_study, tmp_path)}
    states = {key: (found[run].state, found[run].rounds) for key, run in runs.items()}
    assert states == {
        ("fedavg", 1): ("done", 4),
        ("fedavg", 2): ("running", 2),
        ("krum", 1): ("failed", 0),
        ("krum", 2): ("stopped", 0),
    }
    # 6 rounds took 34 s, the estimate was 6 s; 2 rounds of 7 s and 8 of 3 · 34 / 6 s are left
    assert status.seconds_left(read_study, [*found.values()]) == pytest.approx(14 + 8 * 17)

    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    assert cli.main(["status", str(file), "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "4 runs: 1 done, 1 running, 1 failed, 1 stopped, 0 waiting" in text
    assert "rounds: 6 of 16 done, 38%" in text
    assert (
        "0.176 rounds per second in each job; about 0:02:30 (h:mm:ss) left with a job at a time"
        in text
    )
    assert f"{logs['krum', 1]}/1-2.log\n    ValueError: bad data" in text
    assert f"{logs['krum', 2]}/1-2.log, process {killed.pid}" in text
    assert (
        f"{logs['fedavg', 2]}/3-4.log, process {process.pid} on {os.uname().nodename}, at round 3"
        in text
    )
    assert runs["fedavg", 1] not in text


@pytest.mark.usefixtures("estimated")
def test_time_left_is_that_of_like_runs_divided_by_the_jobs_that_run(tmp_path):
    read_study = read(data_seed=[1, 2, 3], defense="fedavg")
    runs = runs_of(read_study)
    finish(tmp_path, runs["fedavg", 1], 1, 2, 10.0)
    found = status.progress(read_study, tmp_path)
    # 10 rounds of 5 s
    assert status.seconds_left(read_study, found) == pytest.approx(50)
    for seed in (2, 3):
        log = tmp_path / "logs" / "span" / runs["fedavg", seed] / "1-2.log"
        log.parent.mkdir(parents=True)
        log.write_text("skymask: begun by process 1 on elsewhere\n")
    assert status.seconds_left(read_study, status.progress(read_study, tmp_path)) == pytest.approx(
        25
    )


@pytest.mark.usefixtures("estimated")
def test_before_anything_has_run_the_time_is_estimated(tmp_path):
    read_study = read()
    found = status.progress(read_study, tmp_path)
    assert {one.state for one in found} == {"waiting"}
    # 2 runs of 4 rounds of 1 s, 2 of 4 rounds of 3 s
    assert status.seconds_left(read_study, found) == pytest.approx(32)
    assert "about 0:00:32 (h:mm:ss) left with a job at a time, estimated" in status.text(
        read_study, tmp_path
    )


def test_a_run_with_more_rounds_than_the_study_wants_is_done(tmp_path):
    read_study = read(defense="krum", data_seed=1)
    run = runs_of(read_study)["krum", 1]
    for first in (1, 3, 5):
        finish(tmp_path, run, first, first + 1, 2.0)
    (one,) = status.progress(read_study, tmp_path)
    assert (one.state, one.rounds, one.wanted) == ("done", 4, 4)
    assert (one.timed, one.seconds) == (4, 4.0)
    assert "tables: not made yet" in status.text(read_study, tmp_path)
    (longer,) = status.progress(read(defense="krum", data_seed=1, rounds=8), tmp_path)
    assert (longer.state, longer.rounds, longer.wanted) == ("waiting", 6, 8)


def test_a_gap_between_spans_ends_what_is_done(tmp_path):
    read_study = read(defense="krum", data_seed=1, rounds=6)
    run = runs_of(read_study)["krum", 1]
    finish(tmp_path, run, 1, 2, 2.0)
    finish(tmp_path, run, 5, 6, 2.0)
    (one,) = status.progress(read_study, tmp_path)
    assert (one.state, one.rounds) == ("waiting", 2)


def test_rounds_that_are_jobs_each_count_when_they_are_evaluated(tmp_path):
    read_study = read(defense="krum", data_seed=1, rounds_per_job=1)
    run = runs_of(read_study)["krum", 1]
    for round_, kinds in (
        (1, ["model"]),
        (2, ["model", "metrics"]),
        (3, ["model"]),
        (4, ["model"]),
    ):
        folder = tmp_path / "runs" / run / "rounds" / str(round_)
        for kind in kinds:
            (folder / "timings").mkdir(parents=True, exist_ok=True)
            (folder / f"{kind}.parquet").write_text("")
        rows = [{"round": round_, "stage": "train", "seconds": 2.0}]
        write_rows(folder / "timings" / "train.parquet", "timings", run, rows)
    log = tmp_path / "logs" / "evaluate" / run / "4.log"
    with pytest.raises(SystemExit):
        fail_in(log)
    (one,) = status.progress(read_study, tmp_path)
    assert (one.state, one.rounds, one.log) == ("failed", 3, log)
    assert (one.timed, one.seconds) == (3, 6.0)


def fail_in(log):
    """Fail as a job in this process; then restore its streams and its signal handler."""
    kept, handler = (os.dup(1), os.dup(2)), signal.getsignal(signal.SIGTERM)
    try:
        with logged(str(log)):
            raise ValueError("no")
    finally:
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        signal.signal(signal.SIGTERM, handler)


def test_missing_data_fail_every_run(tmp_path):
    read_study = read(defense="krum")
    log = tmp_path / "logs" / "data" / "digits.log"
    with pytest.raises(SystemExit):
        fail_in(log)
    found = status.progress(read_study, tmp_path)
    assert [(one.state, one.log) for one in found] == [("failed", log)] * 2


def test_the_scale_and_other_keys_can_be_overridden(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "small": {"rounds": 2}}))
    common = ["--results", str(tmp_path)]
    for override in (["--scale", "small"], ["--config", "scale=small"]):
        assert cli.main(["status", str(file), *common, *override]) == 0
        text = capsys.readouterr().out
        assert "Study s_small, scale small: 4 runs" in text
        assert "rounds: 0 of 8 done" in text
    assert cli.main(["status", str(file), *common, "--config", "rounds=10", "defense=krum"]) == 0
    assert "rounds: 0 of 20 done" in capsys.readouterr().out
    # as Snakemake takes it: the rounds of small stay
    keys = ["small={clients: 12}", "scale=small"]
    assert cli.main(["status", str(file), *common, "--config", *keys]) == 0
    assert "rounds: 0 of 8 done" in capsys.readouterr().out
    assert cli.main(["status", str(file), *common, "--config", "defense=crum"]) == 1
    assert "did you mean 'krum'" in capsys.readouterr().err
    assert cli.main(["status", str(file), *common, "--config", "rounds"]) == 1
    assert "write it as key=value" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["summary", "timings"])
def test_other_commands_take_the_scale_too(tmp_path, capsys, command):
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "small": {"rounds": 2}}))
    for override in (["--scale", "small"], ["--config", "scale=small"]):
        assert cli.main([command, str(file), "--results", str(tmp_path), *override]) == 1
        error = capsys.readouterr().err
        assert f"{tmp_path}/tables/s_small/" in error
        assert f"run snakemake --configfile {file} --config scale=small" in error


@pytest.mark.parametrize("content", ["rounds: 4\n", "- a\n", "a: [\n"])
def test_a_file_that_is_no_study_is_named(tmp_path, capsys, content):
    (tmp_path / "s.yaml").write_text(content)
    assert cli.main(["status", str(tmp_path / "s.yaml")]) == 1
    assert f"{tmp_path}/s.yaml is not a study file" in capsys.readouterr().err


def test_no_result_depends_on_the_form_of_logs():
    modules = [path.relative_to(registry.ROOT.parent) for path in registry.ROOT.rglob("*.py")]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules}
    above = {
        "skymask.jobs.log",
        "skymask.jobs.causes",
        "skymask.jobs.status",
        "skymask.jobs.monitor",
        "skymask.cli",
        "skymask.__main__",
    }
    assert [name for name in names - above if "skymask.jobs.log" in fingerprint.closure(name)] == []
