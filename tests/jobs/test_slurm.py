"""SLURM jobs of a working directory, with a fake squeue and scancel."""

import os
import sys

import pytest

from skymask import cli
from skymask.jobs import resume
from skymask.jobs import slurm as jobs_slurm
from skymask.jobs.slurm import SlurmError, SlurmJob

NAME = "skymask_f297c325-8aeb-401b-8bf9-22da05a450e9"


def queue(slurm, *rows):
    slurm("squeue", "\n".join(["cat <<'END'", *rows, "END"]))


def test_only_this_folders_jobs_of_snakemake_are_found(slurm, tmp_path):
    here = slurm.here
    (tmp_path / "link").symlink_to(here)
    queue(
        slurm,
        f"1|PENDING|{NAME}|{here}",
        f"2|RUNNING|{NAME}|{here}2",
        f"3|RUNNING|interactive|{here}",
        f"4|RUNNING|{NAME.removeprefix('skymask_')}|{tmp_path / 'link'}",
        f"5|COMPLETING|a_b-c_{NAME}|{here}/",
        f"6|RUNNING|{NAME}1|{here}",
        f"7|RUNNING|{NAME}|{tmp_path}",
        "slurm_load_jobs is slow today",
    )
    assert jobs_slurm.jobs_of(here) == [
        SlurmJob(1, "PENDING"),
        SlurmJob(4, "RUNNING"),
        SlurmJob(5, "COMPLETING"),
    ]


def test_squeue_lists_this_users_jobs_only(slurm):
    slurm("squeue", 'echo "$@" > asked')
    assert jobs_slurm.jobs_of(slurm.here) == []
    assert f"--user={os.getuid()}" in (slurm.here / "asked").read_text().split()


def test_a_folder_may_have_any_name(slurm, tmp_path):
    odd = tmp_path / "a|b c"
    odd.mkdir()
    queue(slurm, f"1|PENDING|{NAME}|{odd}")
    assert jobs_slurm.jobs_of(odd) == [SlurmJob(1, "PENDING")]


def test_no_answer_is_an_error(slurm):
    slurm("squeue", "echo 'Unable to contact\nslurm controller' >&2; exit 1")
    with pytest.raises(
        SlurmError, match="squeue failed, Unable to contact slurm controller: retry"
    ):
        jobs_slurm.jobs_of(slurm.here)
    slurm("squeue", "exec sleep 20")
    with pytest.raises(SlurmError, match=r"no answer in 0\.2 s"):
        jobs_slurm.jobs_of(slurm.here, 0.2)


def test_jobs_that_have_ended_meanwhile_are_no_error(slurm):
    slurm("scancel", 'echo "$@" >> asked; echo "error: Invalid job id specified" >&2; exit 1')
    jobs_slurm.cancel(SlurmJob(number, "RUNNING") for number in range(jobs_slurm.BATCH + 1))
    calls = (slurm.here / "asked").read_text().splitlines()
    assert [len(call.split()) for call in calls] == [jobs_slurm.BATCH, 1]
    slurm("scancel", 'echo "error: Access/permission denied" >&2; exit 1')
    with pytest.raises(SlurmError, match="permission denied"):
        jobs_slurm.cancel([SlurmJob(1, "RUNNING")])


def test_a_call_starts_where_there_is_no_slurm_or_no_job(slurm, monkeypatch):
    queue(slurm)
    assert resume.refusal(True, []) is None
    monkeypatch.setenv("PATH", str(slurm.here))
    assert resume.refusal(True, []) is None


def test_a_call_is_refused_while_there_are_orphans(slurm):
    queue(slurm, f"1|PENDING|{NAME}|{slurm.here}", f"2|RUNNING|{NAME}|{slurm.here}")
    for needed in (True, False):
        message = resume.refusal(needed, ["--profile", "x"])
        assert "2 SLURM jobs (1 pending, 1 running) of this folder" in message
        assert "skymask resume --profile x\n" in message
        assert "skymask resume --adopt --profile x" in message


def test_a_call_without_slurm_does_not_need_its_answer(slurm):
    slurm("squeue", "echo down >&2; exit 1")
    assert resume.refusal(False, []) is None
    assert "Nothing was started: squeue failed, down" in resume.refusal(True, [])


@pytest.mark.parametrize("adopt", [False, True])
def test_the_lock_is_removed_after_the_orphans(slurm, monkeypatch, adopt):
    monkeypatch.setitem(resume.INTERVAL, "cancel", 0)
    monkeypatch.setitem(resume.INTERVAL, "adopt", 0)
    locks = slurm.here / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    row = f"7|RUNNING|{NAME}|{slurm.here}"
    # in the queue three times; and SLURM fails once
    slurm(
        "squeue",
        f"ls .snakemake/locks >> looked; echo >> asked; n=$(wc -l < asked)\n"
        f'[ "$n" = 2 ] && exit 1; [ "$n" -le 3 ] && echo "{row}"; exit 0',
    )
    slurm("scancel", 'echo "$@" >> cancelled')
    shown = []
    resume.clear(adopt, shown.append)
    assert (slurm.here / "looked").read_text().split() == ["0.input.lock"] * 4
    assert not list(locks.iterdir())
    assert (slurm.here / "cancelled").exists() != adopt
    done = "Waiting for" if adopt else "Cancelled"
    assert shown[0].startswith(f"{done} 1 SLURM job (1 running) that a killed Snakemake left")
    assert shown[-2:] == ["None is left.", "The folder is unlocked."]


def test_nothing_is_changed_where_slurm_does_not_answer(slurm):
    (slurm.here / ".snakemake" / "locks").mkdir(parents=True)
    lock = slurm.here / ".snakemake" / "locks" / "0.input.lock"
    lock.touch()
    slurm("squeue", "exit 1")
    with pytest.raises(SlurmError):
        resume.clear(False, print)
    assert lock.exists()


def test_the_command_passes_all_other_arguments_to_snakemake(slurm, monkeypatch, capsys):
    queue(slurm)
    (slurm.here / ".snakemake").mkdir()
    became = []
    monkeypatch.setattr(os, "execv", lambda *command: became.append(command))
    rest = ["tables", "--profile", "profiles/slurm", "--ad", "--config", "rounds=10", "-n"]
    assert cli.main(["resume", "--adopt", *rest]) == 0
    expected = [sys.executable, "-m", "snakemake", *rest, "--rerun-incomplete"]
    assert became == [(sys.executable, expected)]
    expected = "No SLURM job of this folder is queued or running.\nThe folder was not locked.\n"
    assert capsys.readouterr().out == expected


def test_the_command_starts_nothing_while_slurm_does_not_answer(slurm, monkeypatch, capsys):
    (slurm.here / ".snakemake").mkdir()
    slurm("squeue", "echo down >&2; exit 1")
    monkeypatch.setattr(os, "execv", lambda *command: pytest.fail("started"))
    assert cli.main(["resume"]) == 1
    assert "squeue failed, down: retry once" in capsys.readouterr().err
    monkeypatch.chdir("/")
    assert cli.main(["resume"]) == 1
    assert "no Snakemake has run here" in capsys.readouterr().err


def test_other_commands_take_no_unknown_argument(capsys):
    with pytest.raises(SystemExit):
        cli.main(["status", "--adopt"])
    assert "unrecognized arguments: --adopt" in capsys.readouterr().err
