"""fill=exemplar: texture copied from the surroundings."""
