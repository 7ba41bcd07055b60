"""The web layer of every service: application, routes, health checks, headers, and error pages."""
