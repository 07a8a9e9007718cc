"""Launches a run on a cluster (a file a kind: Ray Jobs, Slurm, KubeRay, machines of a cloud) and watches it."""
