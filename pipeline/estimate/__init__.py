"""What a whole source would take, from a measured sample: time, memory, pool sizes."""
