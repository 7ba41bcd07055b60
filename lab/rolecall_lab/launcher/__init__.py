"""Starting the lab on this machine: `make run`, `make doctor`, and `make flask`."""
