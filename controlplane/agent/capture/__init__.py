"""Traffic capture: the rules by which a Pod's connections pass its proxy, whatever its application does."""
