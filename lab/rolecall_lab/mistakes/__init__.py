"""A mistaken provider: a small OpenID Provider, each of whose responses can be altered by name."""
