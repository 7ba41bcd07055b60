"""The observer: draws what the services recorded. It holds no keys, decides nothing, and nobody waits for it."""
