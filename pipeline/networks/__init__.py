"""What runs a network, of whichever stage: sessions, devices, batches. Stages share this, never each other."""
