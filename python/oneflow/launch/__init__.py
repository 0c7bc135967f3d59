"""oneflow-launch: starts the ranks of a job, on this host or on several, and ends them together.

    oneflow-launch --nproc-per-node 4 train.py --lr 0.1
    oneflow-launch --hosts a,b --nproc-per-node 4 train.py --lr 0.1

Every rank runs the same program with RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT set, and finds the others through one address with a secret that only this job knows (a file of
mode 0600 in the folder ONEFLOW_JOB_DIR, removed at the end). Lines are prefixed with their rank. When one rank
fails all others are ended within seconds; the last lines are the root cause, once, and the exit code is that
rank's. Ranks and all their children die with their launcher, whatever kills it, and with the one that leads.

Read `cli`, then `coordinator` (the whole job), `hosts` and `member` (the two ends of what joins hosts), `job` (the
ranks of one host), `blame` (who was it), `guardian` (nothing is left behind), `link`, `admission` and `ssh` (how
launchers talk), `doctor`.
"""

from __future__ import annotations

from .cli import main

__all__ = ["main"]
