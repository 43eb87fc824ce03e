"""Benchmarks. Each figure is a ratio to a peer or lower bound measured in the same run."""
