"""Documentation generated from the code: tables of the README and docs/specifications.md."""
