"""Bodies: what callers hand over to be stored, as bytes or as a stream, with its content type."""
