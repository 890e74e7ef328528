"""What policies mean: read from the policies themselves, and done by real Envoys."""
