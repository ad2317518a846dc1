"""Snakemake's locks: only the main process removes those of a killed call."""

from .harness import Project


def test_a_job_on_another_host_leaves_the_locks_alone(tmp_path):
    project = Project.create(tmp_path / "project")
    lock = project.folder / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    # a job of a cluster sees that no process of its own host uses the folder
    project.snakemake("--mode", "remote", "--nolock", "--list-rules")
    assert lock.exists()
    assert not (project.folder / ".snakemake" / "in-use").exists()
    project.snakemake("--list-rules")
    assert not lock.exists()
