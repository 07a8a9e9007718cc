"""Where the words of the line run: local.py is the plain loop and the reference, ray_data.py a machine or a cluster."""
