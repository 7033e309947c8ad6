"""A local page on which people play with trained agents, watch games again, and compare answers."""
