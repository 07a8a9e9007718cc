"""Another detector looks at what was published; the receipt says what it saw."""
