"""Recording: what is stored of each exchange, without its secrets, and which flow the exchange belongs to."""
