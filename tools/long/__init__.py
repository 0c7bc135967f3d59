"""The long suite: each module is one bar at full size. See run.py."""
