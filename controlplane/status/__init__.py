"""What objects are told about themselves: conditions and Events, written by one replica, and never on a hot path."""
