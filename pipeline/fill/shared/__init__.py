"""What fills share: crops, windows, blending, networks."""
