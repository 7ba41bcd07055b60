"""What only the lab has: it wraps the services' applications from outside; no production image contains it."""
