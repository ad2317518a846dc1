"""Explanations of a queue that does not move, with a fake squeue and sinfo."""

import pytest

from skymask.jobs import slurm_queue
from skymask.jobs.slurm_queue import REPEAT, Nodes, Watch, words

from .test_slurm import NAME

DOWN = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"


class Cluster:
    """Fake programs, a clock, and the watch that uses them."""

    def __init__(self, slurm):
        self.slurm, self.now = slurm, 0.0
        self.watch = Watch(slurm.here, lambda: self.now)
        self.nodes("cpu|2|idle|c[1-2]|none")

    def answer(self, program, rows):
        self.slurm(program, "\n".join(["cat <<'END'", *rows, "END"]))

    def jobs(self, *rows):
        self.answer("squeue", [f"{row}|{NAME}|{self.slurm.here}" for row in rows])

    def nodes(self, *rows):
        self.answer("sinfo", rows)


@pytest.fixture
def cluster(slurm):
    return Cluster(slurm)


def test_a_drained_node_is_named_once_with_its_reason(cluster):
    cluster.jobs(f"1|PENDING|cpu|{DOWN}", f"2|PENDING|cpu|{DOWN}", "3|RUNNING|cpu|None")
    cluster.nodes(
        "cpu|1|draining|c1|disk swap until Monday | ask ops",
        "cpu|2|down*|c[2-3]|Not responding",
        "cpu|5|mixed|c[4-8]|none",
    )
    # at the first look it is unknown since when
    assert cluster.watch.look() is None
    assert cluster.watch.look() == (
        "\nno job has started or ended for a minute: 2 wait in SLURM's queue, 1 runs\n"
        "    2 waiting for nodes of the partition that are down, drained or reserved\n"
        "    partition cpu: 3 of 8 nodes cannot be used: c1 draining (disk swap until Monday | ask "
        "ops); c[2-3] down (Not responding)\n"
        "    nothing has to be restarted: they start by themselves once they can"
    )
    assert [cluster.watch.look() for _ in range(5)] == [None] * 5


def test_it_is_shown_again_when_the_reason_changes_or_after_a_long_time(cluster):
    cluster.jobs("1|PENDING|cpu|Resources")
    looks = [cluster.watch.look() for _ in range(3)]
    assert looks[0] is None
    assert looks[1].startswith("\nno job has started or ended for a minute: 1 waits in SLURM's")
    assert (
        "\n    1 waiting for a turn: nodes are busy, or other jobs have a higher priority"
        in looks[1]
    )
    assert looks[2] is None
    # SLURM tells one or the other for jobs of one queue
    cluster.jobs("1|PENDING|cpu|Priority", "2|PENDING|cpu|Resources")
    assert cluster.watch.look() is None
    cluster.now = REPEAT - 1
    assert cluster.watch.look() is None
    cluster.now = REPEAT
    assert "\n    2 waiting for a turn: " in cluster.watch.look()
    assert cluster.watch.look() is None
    cluster.jobs("1|PENDING|cpu|QOSMaxJobsPerUserLimit", "2|PENDING|cpu|Resources")
    assert "a limit of your account or quality of service (QOSMax" in cluster.watch.look()
    cluster.nodes("cpu|1|drained|c1|kernel", "cpu|1|idle|c2|none")
    assert "partition cpu: 1 of 2 nodes cannot be used: c1 drained (kernel)" in cluster.watch.look()
    assert cluster.watch.look() is None


def test_a_queue_that_moves_needs_no_words(cluster):
    cluster.jobs("1|RUNNING|cpu|None", "2|PENDING|cpu|Resources")
    assert cluster.watch.look() is None
    # a job has started
    cluster.jobs("1|RUNNING|cpu|None", "2|RUNNING|cpu|None", "3|PENDING|cpu|Resources")
    assert cluster.watch.look() is None
    # one has ended
    cluster.jobs("2|RUNNING|cpu|None", "3|PENDING|cpu|Resources")
    assert cluster.watch.look() is None
    # one that Snakemake has seen to end, between two looks
    cluster.watch.moved()
    assert cluster.watch.look() is None
    assert cluster.watch.look() is not None


def test_nothing_waits(cluster):
    for rows in ([], ["1|RUNNING|cpu|None", "2|COMPLETING|cpu|None"]):
        cluster.jobs(*rows)
        assert [cluster.watch.look() for _ in range(3)] == [None] * 3


def test_a_silent_slurm_is_reported_once(cluster, monkeypatch):
    cluster.slurm("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    expected = (
        "SLURM does not answer now (squeue failed, Unable to contact slurm controller); its jobs "
        "go on"
    )
    assert [cluster.watch.look() for _ in range(4)] == [None, expected, None, None]
    cluster.jobs("1|RUNNING|cpu|None")
    assert cluster.watch.look() is None
    monkeypatch.setattr(slurm_queue, "TIMEOUT", 0.1)
    cluster.slurm("squeue", "exec sleep 600")
    assert cluster.watch.look() is None
    cluster.now = REPEAT
    assert "(squeue gave no answer in 0.1 s); its jobs go on" in cluster.watch.look()


def test_only_partitions_in_which_jobs_wait_are_asked_for(cluster):
    cluster.jobs("1|PENDING|cpu,big|Resources", "2|RUNNING|gpu|None")
    cluster.slurm("sinfo", 'echo "$@" > asked')
    cluster.watch.look()
    assert cluster.watch.look() is not None
    asked = (cluster.slurm.here / "asked").read_text()
    assert "--partition=big,cpu " in asked


def test_many_broken_nodes_are_not_all_listed(cluster):
    cluster.jobs("1|PENDING|cpu|Resources")
    cluster.nodes(*(f"cpu|1|down|c{i}|reason {i}" for i in range(9)), "odd line", "cpu|x|y|z|")
    cluster.watch.look()
    text = cluster.watch.look()
    assert "partition cpu: 9 of 9 nodes cannot be used: c0 down (reason 0); " in text
    assert "c3 down (reason 3); and others (sinfo -R)\n" in text


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        *((name, True) for name in ("idle", "mixed", "allocated", "completing", "planned")),
        *((name, False) for name in ("down", "idle*", "drained", "draining", "drained*", "fail")),
        *((name, False) for name in ("maint", "reserved", "unknown", "powering_down", "inval")),
    ],
)
def test_states_of_nodes(state, usable):
    assert Nodes("cpu", 1, state, "c1", "").usable == usable


NODES = "waiting for nodes of the partition that are down"
NEVER = "never starting: more than the cluster allows ("
LIMIT = "waiting for other jobs to end: a limit of your account or quality of service ("
TURN = "waiting for a turn"
LOOK = "waiting for the next look of SLURM's scheduler"


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("Resources", TURN),
        ("Priority", TURN),
        ("None", LOOK),
        ("", LOOK),
        ("ReqNodeNotAvail", NODES),
        (
            "ReqNodeNotAvail, UnavailableNodes:c[1-3]",
            NODES,
        ),
        (DOWN, NODES),
        (DOWN.replace(" ", "_"), NODES),
        ("PartitionDown", "waiting for the partition, which is closed (PartitionDown)"),
        ("PartitionInactive", "waiting for the partition, which is closed"),
        (
            "PartitionTimeLimit",
            NEVER,
        ),
        ("PartitionNodeLimit", NEVER),
        ("BadConstraints", NEVER),
        ("AssocMaxWallDurationPerJobLimit", NEVER),
        ("QOSMaxWallDurationPerJobLimit", NEVER),
        ("QOSMaxCpuPerJobLimit", NEVER),
        ("InvalidAccount", NEVER),
        ("DependencyNeverSatisfied", NEVER),
        (
            "QOSMaxJobsPerUserLimit",
            LIMIT,
        ),
        ("QOSGrpCpuLimit", LIMIT),
        ("AssocGrpCpuLimit", LIMIT),
        ("AssocGrpCPUMinutesLimit", LIMIT),
        ("MaxCpuPerAccount", LIMIT),
        ("BeginTime", "waiting for the time at which they may begin"),
        ("Dependency", "waiting for another job"),
        ("Reservation", "waiting for a reservation"),
        ("Licenses", "waiting for licenses"),
        ("JobHeldUser", "never starting, put on hold: release them with scontrol release NUMBER"),
        ("JobHeldAdmin", "put on hold by an administrator of the cluster"),
        ("BurstBufferStageIn", "waiting for a reason that SLURM calls BurstBufferStageIn"),
    ],
)
def test_reasons_in_plain_words(reason, part):
    assert words(reason).startswith(part)


def test_jobs_that_never_start_need_the_user(cluster):
    cluster.jobs("1|PENDING|cpu|PartitionTimeLimit", "2|PENDING|cpu|Resources")
    cluster.watch.look()
    text = cluster.watch.look()
    assert "1 never starting: more than the cluster allows (PartitionTimeLimit): " in text
    assert "by themselves" not in text
    assert "end this call with Ctrl-C and run it again" in text
