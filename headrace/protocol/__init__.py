"""What travels between the services: names, framing, positions, notes beside committed offsets. No connections."""
