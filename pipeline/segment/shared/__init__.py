"""What segmenters share: runners, sliding windows, class maps, preprocessing, checks of fields."""
