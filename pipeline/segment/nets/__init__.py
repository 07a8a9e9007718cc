"""Our own torch modules, and the weights of older ones."""
