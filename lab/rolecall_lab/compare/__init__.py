"""Tally's page /compare: one token validated by introspection (RFC 7662) and locally (RFC 9068 section 4)."""
