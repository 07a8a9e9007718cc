"""Makes the generative fill's weights: data, holes, networks, the loop, the export. For jobs/train_fill.py only."""
