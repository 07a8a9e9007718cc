"""Machinery that several fills share: crops, windows, blending, networks."""
