"""What would Envoy do with this call? Answered from one proxy's compiled resources, without an Envoy."""
