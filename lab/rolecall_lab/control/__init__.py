"""The control API of the lab (`/_lab`): clock, actions, outages, and the report of the running service."""
