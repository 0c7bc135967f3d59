"""Benchmarks: each module measures one thing; run.py runs it. See README.md."""
