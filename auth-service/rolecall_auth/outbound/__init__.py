"""Requests to addresses that a client registered: which are allowed, what is cached, and how they are fetched."""
