"""The command line: torchrun's flags and ours, completed by what Kubeflow, Slurm, MPI and Kubernetes have set.

A flag that was typed wins, then `PET_<FLAG>`, then what the scheduler says.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import schedulers
from . import counting
from .program import Program


def _hosts_count(text: str) -> int:
    if ":" in text and text.split(":")[0] != text.split(":")[-1]:
        raise argparse.ArgumentTypeError(
            f"`{text}` lets the number of hosts change; oneflow has a fixed one: give --nnodes {text.split(':')[-1]}"
        )
    text = text.split(":")[0]
    if not text.isdigit() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"`{text}` is no number of hosts")
    return int(text)


def _streams(text: str) -> int | dict[str, int]:
    """`3`, or by rank within the host: `0:3,1:2`."""
    if text in ("0", "1", "2", "3"):
        return int(text)
    chosen = {}
    for part in text.split(","):
        rank, _, streams = part.partition(":")
        if not rank.isdigit() or streams not in ("0", "1", "2", "3"):
            raise argparse.ArgumentTypeError(
                f"`{text}`: give 0 (nothing), 1 (stdout), 2 (stderr) or 3 (both), or these by rank: 0:3,1:2"
            )
        chosen[rank] = int(streams)
    return chosen


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.isidentifier():
        raise argparse.ArgumentTypeError(f"`{text}` is neither NAME nor NAME=VALUE")
    if not equals:
        if name not in os.environ:
            raise argparse.ArgumentTypeError(f"{name} is not set here")
        value = os.environ[name]
    return name, value


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"`{text}` is no port")
    return int(text)


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="oneflow-launch",
        allow_abbrev=False,  # else a flag of the program that begins like two of ours is ambiguous
        description="Starts the ranks of a oneflow job, on this host or on several, and ends them together.",
        epilog="`oneflow-launch doctor` looks at a host, or with --hosts at a cluster, before a job does. docs/launch.md "
        "has a section for each way to launch.",
    )

    def flag(name: str, *more: str, **options: object) -> None:
        # As torchrun does, accept --nproc-per-node and --nproc_per_node; and PET_NPROC_PER_NODE.
        names = [*more, f"--{name}"] + ([f"--{name.replace('-', '_')}"] if "-" in name else [])
        given = environ.get(f"PET_{name.replace('-', '_').upper()}", "")
        if given and options.get("action") is None:
            options["default"] = given  # argparse sends it through `type`
        made.add_argument(*names, **options)  # type: ignore[arg-type]

    flag(
        "nproc-per-node",
        type=counting.checked,
        default="1",
        metavar="N",
        help="ranks of each host: a number, cpu, gpu or auto",
    )
    flag("hosts", help="hosts reached by ssh: a,b,c or a:4,b:2 (ranks)")
    flag("hostfile", type=Path, help="the same in a file: `name slots=4 port=22` a line")
    flag("ssh", default="ssh", help='how to reach them; `"ssh -i key"` adds options')
    flag("remote-python", help="Python of the other hosts; by default this one's path")
    flag(
        "env",
        "-x",
        action="append",
        type=_assignment,
        default=[],
        metavar="NAME[=VALUE]",
        help="a variable for the ranks of all hosts",
    )
    flag("nnodes", type=_hosts_count, help="hosts, when the launcher is started on each of them")
    flag("node-rank", type=int, help="number of this host among them")
    flag("master-addr", help="address of the first host, where rank 0 listens")
    flag("master-port", type=_port, help="its port; by default a free one, on several hosts 29500")
    flag("rdzv-endpoint", help="ADDRESS:PORT, the same as --master-addr and --master-port")
    flag("rdzv-backend", help="accepted, without effect")
    flag("rdzv-id", help="accepted, without effect")
    flag("join-timeout", type=float, default=300.0, help="seconds for all hosts to come")
    flag("standalone", action="store_true", help="this host alone, whatever a scheduler says")
    flag("max-restarts", type=int, default=0, help="how often a failed job is started again")
    flag("pin", action="store_true", help="give each rank cores of its own")
    flag("log-dir", help="also write what each rank prints to DIR/rank<N>.log")
    flag(
        "tee",
        "-t",
        type=_streams,
        default=3,
        help="what the console gets: 0, 1 stdout, 2 stderr, 3 both; or by rank within the host: 0:3,1:2",
    )
    flag("dry-run", action="store_true", help="print what would be started")
    made.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module name")
    flag("no-python", action="store_true", help="SCRIPT is a program")
    made.add_argument("script", help="the program of every rank")
    made.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return made


@dataclass(frozen=True)
class Where:
    """Which host of how many this is, and where all meet."""

    hosts: int
    number: int
    address: str
    port: int  # 0: a free one
    said_by: str = "the command line"


class Unclear(Exception):
    """Flags and environment do not say where this host stands; the text says what is missing."""


def _endpoint(options: argparse.Namespace) -> tuple[str, int | None]:
    address, port = options.master_addr or "", options.master_port
    if options.rdzv_endpoint and not address:
        address, _, text = options.rdzv_endpoint.rpartition(":")
        if not address:
            address, text = text, ""
        port = int(text) if text.isdigit() else port
    return address, port


def place(options: argparse.Namespace, environ: Mapping[str, str]) -> Where:
    """From flags, then from what a scheduler says."""
    address, port = _endpoint(options)
    said = None
    if not options.standalone and options.nnodes != 1:
        said = schedulers.host_of(environ)
    hosts = options.nnodes or (said.count if said is not None and said.count else 1)
    number = options.node_rank
    if options.standalone:
        hosts, number = 1, 0
    if hosts == 1:
        if number not in (None, 0):
            raise Unclear(f"--node-rank {number} of 1 host; give --nnodes too")
        return Where(1, 0, address or "127.0.0.1", port or 0)
    if said is not None and said.local_count > 1:
        raise Unclear(
            f"{said.system} has started {said.local_count} launchers on this host, and one starts all ranks of a host: "
            "use --ntasks-per-node=1 (srun), -N 1 (mpirun); or start the program itself once per rank, without "
            "oneflow-launch"
        )
    if number is None and said is not None:
        number = said.number
    if number is None:
        raise Unclear(f"which of the {hosts} hosts is this? give --node-rank 0 to {hosts - 1}")
    if not 0 <= number < hosts:
        raise Unclear(f"--node-rank {number} does not lie in 0 to {hosts - 1} (--nnodes {hosts})")
    if not address and said is not None:
        address = said.address
    if not address:
        raise Unclear(
            "where do the hosts meet? give --master-addr the name or address of the first host"
        )
    if port is None:
        port = said.port if said is not None else schedulers.DEFAULT_PORT
    system = said.system if said is not None else "the command line"
    return Where(hosts, number, address, port, system)


def program(options: argparse.Namespace) -> Program:
    return Program(
        script=options.script,
        arguments=list(options.arguments),
        module=options.module,
        no_python=options.no_python,
        log_dir=os.path.abspath(options.log_dir) if options.log_dir else "",
        tee=options.tee,
        pin=options.pin,
        environment=dict(options.env),
    )
