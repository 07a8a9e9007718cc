"""Segfill: segment, fill and rewrite large image datasets. Start reading at `pipeline/flow.py`."""

__version__ = "0.1.0"
