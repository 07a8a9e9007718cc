"""fill=generative: copied detail, weighed by our own small network."""
