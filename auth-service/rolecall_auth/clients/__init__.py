"""Registered clients: authentication, metadata (RFC 7591), and logos."""
