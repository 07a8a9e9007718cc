"""Estimates time, memory and pool sizes for a whole source from a measured sample."""
