"""Integrations: each needs an extra of its own and is imported only where it is asked for."""
