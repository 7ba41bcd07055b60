"""Recording: stores an event for each exchange, without its secrets, and finds the flow that the event belongs to."""
