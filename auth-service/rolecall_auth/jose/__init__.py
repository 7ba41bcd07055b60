"""Keys and signed tokens (RFC 7515 to 7519)."""
