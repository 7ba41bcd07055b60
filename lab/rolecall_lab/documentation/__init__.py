"""Documentation generated from the code: tables in docs/."""
