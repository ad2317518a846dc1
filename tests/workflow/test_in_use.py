"""Who removes Snakemake's locks: the main process, never one of its jobs, wherever they run."""

from .harness import Project


def test_a_job_on_another_host_leaves_the_locks_alone(tmp_path):
    project = Project.create(tmp_path / "project", defense="krum")
    lock = project.folder / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    # nobody on this host has the folder in use, as a job of a cluster sees it
    project.snakemake("--mode", "remote", "--nolock", "--list-rules")
    assert lock.exists()
    assert not (project.folder / ".snakemake" / "in-use").exists()
    project.snakemake("--list-rules")
    assert not lock.exists()
