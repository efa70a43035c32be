"""Benchmarks: sizes as arguments, times printed as ratios against peers of the same run."""
