"""How the generative fill's weights are made: data, holes, a discriminator, the loop. For jobs/train_fill.py only."""
