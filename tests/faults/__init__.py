"""Faults that strike a running job of three hosts at its events, and what must come of each."""
