"""The protocol endpoints, one module per endpoint."""
