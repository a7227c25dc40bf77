"""Upkeep of a tenant's blobs: garbage is collected, and what events refer to is shown to be there."""
