"""Attacks on a job, by programs that know only docs/wire_format.md. `./dev long attacks` runs them all."""
