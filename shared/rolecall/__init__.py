"""Code that two or more services share: clock, checks, events, errors, settings, HTTP, storage, SQL, and web."""

__version__ = "0.1.0"
