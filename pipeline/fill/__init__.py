"""Fills: one file or folder a method of making new pixels for a region."""
