"""What a person did in a run, read from its database."""
