"""Benchmarks and proofs on real models: `make bench`, or one of them with `python -m bench.NAME`."""
