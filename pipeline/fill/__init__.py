"""One file a method of making new pixels for a region; crops.py cuts what they see."""
