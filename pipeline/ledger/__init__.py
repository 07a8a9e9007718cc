"""Records what is committed under an output: its run, its units, its end, and its checks."""
