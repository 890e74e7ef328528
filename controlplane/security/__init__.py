"""Identities, and who vouches for them."""
