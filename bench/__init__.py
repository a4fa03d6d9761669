"""Benchmarks: ratios against named peers, paired in one run, with sizes and versions printed."""
