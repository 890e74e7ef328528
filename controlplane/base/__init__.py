"""What could have been in the standard library. Never a word of this domain."""
