"""Measures JobEngine. Every figure is a median of interleaved rounds of one run."""
