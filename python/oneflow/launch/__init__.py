"""oneflow-launch: starts the ranks of a job on this host and ends them together.

    oneflow-launch --nproc-per-node 4 train.py --lr 0.1

Every rank runs the same program with RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT set, and finds the others through one loopback address with a secret that only this job knows
(a file of mode 0600 in the folder ONEFLOW_JOB_DIR, removed at the end). Lines are prefixed with their rank.
When one rank fails all others are ended within seconds; the last lines are the root cause, once, and the
exit code is that rank's. Ranks and all their children die with the launcher, whatever kills it.

Read `cli`, then `job` (the ranks), `blame` (who was it), `guardian` (nothing is left behind).
"""

from __future__ import annotations

from .cli import main

__all__ = ["main"]
