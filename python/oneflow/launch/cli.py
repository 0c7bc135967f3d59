"""What oneflow-launch does: one host, several by ssh, or one of several on which it was started."""

from __future__ import annotations

import argparse
import hmac
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import addresses, environment
from ..errors import Error
from . import admission, counting, doctor, guardian, options, ssh
from .coordinator import CANNOT_START, HOST_LOST, Coordinator
from .hosts import Host, LocalHost
from .link import Message
from .member import Member, take_signals, write_secret
from .output import Console, say
from .party import Party

# Variables that the ranks of other hosts get as they are here.
_HANDED_ON = ("ONEFLOW_", "OMP_", "NCCL_", "CUDA_", "PYTHON")
_OF_THE_LAUNCHER = {"ONEFLOW_SECRET", "ONEFLOW_JOB_DIR", "ONEFLOW_LISTENER", "ONEFLOW_EPOCH"}


def _new_job(folder: Path) -> tuple[str, Path]:
    """Id of a job, the same on all its hosts, and the folder with its secret on this one."""
    name = f"job-{secrets.token_hex(8)}"
    return name, folder / name


def _dry_run(commands: list[list[str]]) -> int:
    for number, command in enumerate(commands):
        print(f"[rank{number}]: {' '.join(command)}")
    return 0


def _run_here(chosen: argparse.Namespace, where: options.Where) -> int:
    """All ranks on this host."""
    program, count = options.program(chosen), counting.processes(chosen.nproc_per_node)
    try:
        listener = addresses.listen(addresses.own_address(where.address), where.port)
    except addresses.AddressError as error:
        say(f"root cause: {error}")
        return CANNOT_START
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))  # mode 0700
    launcher = os.getpid()

    def work() -> int:
        if chosen.dry_run:
            return _dry_run([program.command()] * count)
        console = Console()
        _, job = _new_job(folder)
        write_secret(job, secrets.token_bytes(32))
        host = LocalHost("", program, count, job, launcher, console.emit)
        host.adopt(listener)
        coordinator = Coordinator([host], where.address, where.port, console, chosen.max_restarts)
        take_signals(coordinator.interrupt, launcher)
        return coordinator.run()

    return guardian.run_guarded(work, folder, listener.close)


def _run_by_ssh(chosen: argparse.Namespace, targets: list[ssh.Target]) -> int:
    """All ranks on hosts that ssh reaches; this one only watches them."""
    handed_on = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_HANDED_ON)
        and name not in _OF_THE_LAUNCHER
        and name not in environment.own_defaults
    }
    program = options.program(chosen)
    program = replace(program, environment={**handed_on, **program.environment}, folder=os.getcwd())
    python = chosen.remote_python or sys.executable
    name = f"job-{secrets.token_hex(8)}"
    secret = secrets.token_hex(32)
    console = Console()
    hosts: list[ssh.SshHost] = []
    for target in targets:
        job: Message = {
            "id": name,
            "secret": secret,
            "program": program.as_json(),
            "processes": str(target.slots or chosen.nproc_per_node),
        }
        start = ssh.command(target, chosen.ssh, python, "oneflow.launch.agent")
        hosts.append(ssh.SshHost(target, start, job, console.emit))
    if chosen.dry_run:
        for host in hosts:
            print(f"[{host.name}]: {' '.join(host.command)}")
            print(f"[{host.name}]: {' '.join(program.command())}")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))
    launcher = os.getpid()

    def renew(host: Host, stop: Callable[[], bool]) -> bool:
        assert isinstance(host, ssh.SshHost)
        return host.come_back(chosen.join_timeout, stop)

    def work() -> int:
        coordinator = Coordinator(hosts, "", 0, console, chosen.max_restarts, renew)
        take_signals(coordinator.interrupt, launcher)
        for host in hosts:
            host.connect()
        try:
            stop = coordinator.is_interrupted
            if why := ssh.gather(hosts, chosen.join_timeout, stop):
                if coordinator.interrupted is not None:
                    return 128 + coordinator.interrupted
                say(f"root cause: {why}")
                return CANNOT_START if any(host.unable() for host in hosts) else HOST_LOST
            coordinator.address = chosen.master_addr or hosts[0].meeting_address()
            coordinator.port = chosen.master_port or 0
            return coordinator.run()
        finally:
            for host in hosts:
                host.leave(seconds=5.0)

    return guardian.run_guarded(work, folder, lambda: None)


def _given_secret(fail: Any) -> bytes:
    try:
        secret = environment.secret_given()
    except Error as error:
        fail(str(error))
    if not secret:
        fail(
            "launchers of several hosts know each other by a secret that you give to all of them: export "
            "ONEFLOW_SECRET=$(openssl rand -hex 32) before you start them (srun hands it on), or ONEFLOW_SECRET=@FILE"
        )
    return secret


def _host_name() -> str:
    return socket.gethostname() or "this host"


def _run_first(chosen: argparse.Namespace, where: options.Where, fail: Any) -> int:
    """The first of several hosts on which the launcher was started: the others come to it."""
    program, count = options.program(chosen), counting.processes(chosen.nproc_per_node)
    secret = _given_secret(fail)
    if chosen.dry_run:
        return _dry_run([program.command()] * count)
    try:
        own = addresses.own_address(where.address)
        listener = addresses.listen(own, where.port)
    except addresses.AddressError as error:
        say(f"root cause: {error}")
        return CANNOT_START
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))
    launcher = os.getpid()

    def work() -> int:
        console = Console()
        name, job = _new_job(folder)
        write_secret(job, _secret_of(secret, name))
        local = LocalHost(_host_name(), program, count, job, launcher, console.emit)
        door = admission.Door(listener, secret)
        party = Party(door, name, local, where.hosts)
        coordinator = Coordinator(party.hosts, own, 0, console, chosen.max_restarts, party.replace)
        take_signals(coordinator.interrupt, launcher)
        if why := party.gather(chosen.join_timeout, coordinator.is_interrupted):
            say(f"root cause: {why}")
            return HOST_LOST
        try:
            return coordinator.run()
        finally:
            party.close()

    return guardian.run_guarded(work, folder, listener.close)


def _secret_of(secret: bytes, job: str) -> bytes:
    """The secret of one job, from the one that launchers share."""
    return hmac.new(secret, f"job {job}".encode(), "sha256").digest()


def _run_member(chosen: argparse.Namespace, where: options.Where, fail: Any) -> int:
    """Another of several hosts on which the launcher was started."""
    program, count = options.program(chosen), counting.processes(chosen.nproc_per_node)
    secret = _given_secret(fail)
    if chosen.dry_run:
        return _dry_run([program.command()] * count)
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))
    launcher = os.getpid()

    def work() -> int:
        console = Console()
        member = Member(folder, launcher, console.emit)
        take_signals(member.interrupt, launcher)
        try:
            link = admission.knock(
                where.address,
                where.port,
                secret,
                member.receive,
                chosen.join_timeout,
                lambda: member.interrupted is not None,
            )
        except (OSError, admission.Refused) as error:
            if member.interrupted is not None:
                return 128 + member.interrupted
            say(f"root cause: the launcher of the first host: {error}")
            return HOST_LOST
        member.link = link
        member.program = program

        def prepare(job: Message) -> dict[str, Any]:
            member.folder = folder / str(job["id"])
            write_secret(member.folder, _secret_of(secret, str(job["id"])))
            return {"said": "ready"}

        link.begin()
        link.send(host=where.number, hosts=where.hosts, count=count, name=_host_name())
        return member.serve(prepare)

    return guardian.run_guarded(work, folder, lambda: None)


def main(arguments: list[str] | None = None) -> int:
    """Runs the launcher; returns the exit code of the job."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["doctor"]:
        return doctor.main(given[1:])
    parser = options.parser(os.environ)
    chosen = parser.parse_args(given)
    if chosen.max_restarts < 0:
        parser.error(f"--max-restarts {chosen.max_restarts}; give 0 or more")
    if chosen.hosts and chosen.hostfile:
        parser.error("--hosts and --hostfile say the same; give one of them")
    try:
        if chosen.hosts or chosen.hostfile:
            targets = (
                ssh.parse_hosts(chosen.hosts)
                if chosen.hosts
                else ssh.parse_hostfile(chosen.hostfile)
            )
            if chosen.nnodes not in (None, len(targets)):
                parser.error(f"--nnodes {chosen.nnodes}, but {len(targets)} hosts are listed")
            return _run_by_ssh(chosen, targets)
        counting.processes(chosen.nproc_per_node)
        where = options.place(chosen, os.environ)
    except (options.Unclear, ssh.HostFileError, argparse.ArgumentTypeError) as error:
        parser.error(str(error))
    if where.hosts == 1:
        return _run_here(chosen, where)
    if where.number == 0:
        return _run_first(chosen, where, parser.error)
    return _run_member(chosen, where, parser.error)
