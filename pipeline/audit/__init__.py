"""Inspects published images with another detector, and writes the privacy receipt."""
