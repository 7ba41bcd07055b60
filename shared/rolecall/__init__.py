"""What two or more of the services use: clock, checks, events, errors, settings, HTTP, storage and web plumbing."""
