"""The endpoints of the specifications, one file each."""
