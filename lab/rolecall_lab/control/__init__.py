"""The lab's control API (`/_lab`): the clock, actions, simulated outages, and each service's report about itself."""
