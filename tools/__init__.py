"""What builds Lateen and its tests' surroundings; nothing here is installed."""
