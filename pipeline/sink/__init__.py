"""Builds what a unit publishes: its tables of masks and images, and its rendered images."""
