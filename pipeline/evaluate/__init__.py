"""Measures an output against a truth, or against another run, from the committed tables alone."""
