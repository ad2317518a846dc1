"""A SLURM cluster on one machine, in a temporary folder, reachable from this machine only."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from stat import S_IFCHR

from tests.workflow.harness import DEADLINE

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = (
    "sbatch",
    "srun",
    "squeue",
    "scancel",
    "scontrol",
    "sinfo",
    "sacct",
    "sacctmgr",
    "sshare",
)
GPUS = 2
PARTITIONS = {"cpu": "c1", "gpu": "g1"}

# a null device takes the place of a GPU: SLURM allocates it, no job computes on it
NULL = os.makedev(1, 3)


# Linux's number of the option that signals a process when its parent dies
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Make this process end when its parent is killed and cannot end it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def why_not():
    """Explain why no cluster can start here; return an empty text if one can."""
    if sys.platform != "linux" or os.getuid():
        return "SLURM's daemons need Linux and root"
    lacking = [name for name in (*DAEMONS, *CLIENTS) if not shutil.which(name)]
    if lacking:
        return f"SLURM is not installed: {', '.join(lacking)} missing"
    if not find_spec("snakemake_executor_plugin_slurm"):
        return "snakemake-executor-plugin-slurm is not installed"
    return ""


def free_ports(count):
    """Return ports that no process listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """The daemons, the configuration and the state of a cluster."""

    def __init__(self):
        # the path of munge's socket must be short, and its folders readable for all
        self.base = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.base.chmod(0o755)
        self.conf = self.base / "slurm.conf"
        self.daemons = []
        for folder in ("bin", "log", "state", "c1", "g1"):
            (self.base / folder).mkdir()
        for number in range(GPUS):
            os.mknod(self.base / f"gpu{number}", 0o666 | S_IFCHR, NULL)
        self._write_conf()
        for client in CLIENTS:
            # the executor plugin removes every variable SLURM_* from a job's environment
            script = self.base / "bin" / client
            program = shutil.which(client)
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.conf} exec {program} "$@"\n')
            script.chmod(0o755)

    def _write_conf(self):
        host = socket.gethostname().partition(".")[0]
        controller, *ports = free_ports(1 + len(PARTITIONS))
        # nodes may declare more than the machine has; finished jobs are kept for an hour
        node = "CPUs=3 Boards=1 SocketsPerBoard=1 CoresPerSocket=3 ThreadsPerCore=1"
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {node} "
            f"RealMemory=32000 {f'Gres=gpu:{GPUS}' if kind == 'gpu' else ''} State=UNKNOWN\n"
            f"PartitionName={kind} Nodes={name} MaxTime=INFINITE State=UP"
            for (kind, name), port in zip(PARTITIONS.items(), ports, strict=True)
        ]
        lines = f"""
            ClusterName=test
            SlurmctldHost={host}(127.0.0.1)
            SlurmctldPort={controller}
            SlurmUser=root
            AuthType=auth/munge
            AuthInfo=socket={self.base}/munge.socket,cred_expire=60
            CredType=cred/munge
            CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
            SlurmctldPidFile={self.base}/slurmctld.pid
            SlurmdPidFile={self.base}/%n/slurmd.pid
            SlurmctldLogFile={self.base}/log/slurmctld.log
            SlurmdLogFile={self.base}/log/%n.log
            StateSaveLocation={self.base}/state
            SlurmdSpoolDir={self.base}/%n
            SlurmdParameters=config_overrides
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            SwitchType=switch/none
            MpiDefault=none
            SelectType=select/cons_tres
            SelectTypeParameters=CR_Core_Memory
            SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
            JobAcctGatherType=jobacct_gather/linux
            JobAcctGatherFrequency=2
            JobAcctGatherParams=OverMemoryKill
            AccountingStorageType=accounting_storage/none
            MinJobAge=3600
            KillWait=2
            SlurmctldTimeout=10
            SlurmdTimeout=300
            MessageTimeout=100
            ReturnToService=2
            GresTypes=gpu
        """
        self.conf.write_text("\n".join([*map(str.strip, lines.splitlines()), *nodes, ""]))
        devices = f"NodeName=g1 Name=gpu File={self.base}/gpu[0-{GPUS - 1}]\n"
        (self.base / "gres.conf").write_text(devices)

    @property
    def environment(self):
        """The variables of a process that uses this cluster."""
        return {"PATH": f"{self.base / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def start(self):
        """Start all daemons and wait until the nodes are ready for jobs."""
        key = self.base / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        names = ("key", "socket", "pid", "log", "seed")
        files = [f"--{name}-file={self.base}/munge.{name}" for name in names if name != "socket"]
        self._daemon("munged", "--foreground", f"--socket={self.base}/munge.socket", *files)
        self._until(lambda: (self.base / "munge.socket").exists(), "munged made no socket")
        self._daemon("slurmctld", "-D", "-f", str(self.conf))
        for node in PARTITIONS.values():
            self._daemon("slurmd", "-D", "-f", str(self.conf), "-N", node)
        states = ["sinfo", "--noheader", "--Node", "--format=%T"]
        self._until(
            lambda: self.ask(*states, check=False).split() == ["idle"] * len(PARTITIONS),
            "the nodes did not become ready",
        )

    def _daemon(self, *command):
        with (self.base / "log" / f"{command[0]}.out").open("a") as log:
            environment = {**os.environ, "SLURM_CONF": str(self.conf)}
            self.daemons.append(
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=end_with_parent,
                )
            )

    def _until(self, holds, otherwise):
        deadline = time.monotonic() + DEADLINE
        while not holds():
            ended = [daemon.args[0] for daemon in self.daemons if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = [f"{log}:\n{log.read_text()[-2000:]}" for log in self.base.glob("log/*")]
                raise RuntimeError("\n".join([otherwise, f"ended: {ended}", *logs]))
            time.sleep(0.1)

    def ask(self, *command, check=True):
        """Run a client of SLURM; return its output."""
        path = str(self.base / "bin" / command[0])
        done = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, timeout=DEADLINE
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def jobs(self, folder):
        """List the jobs of a working directory, also finished ones, with scontrol's keys."""
        lines = self.ask("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [job for job in jobs if job.get("WorkDir") == str(folder)]

    def stop(self):
        """End all jobs and daemons and remove the folder."""
        try:
            self.ask("scancel", "--user=root", check=False)
            deadline = time.monotonic() + 20
            while self.ask("squeue", "--noheader", check=False) and time.monotonic() < deadline:
                time.sleep(0.2)
        finally:
            for daemon in reversed(self.daemons):
                daemon.terminate()
            for daemon in self.daemons:
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            for process in self.left_over():
                os.kill(process, signal.SIGKILL)
            shutil.rmtree(self.base, ignore_errors=True)

    def left_over(self):
        """List the processes that the cluster started and that still run."""
        own = f"SLURM_CONF={self.conf}".encode()
        processes = []
        for folder in Path("/proc").iterdir():
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if own in variables and folder.name.isdigit():
                processes.append(int(folder.name))
        return processes
