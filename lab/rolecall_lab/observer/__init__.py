"""The observer draws what the services recorded. It holds no keys, makes no decisions, and no service waits for it."""
