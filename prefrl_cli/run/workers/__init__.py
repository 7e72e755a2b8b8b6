"""Several processes of one run, each with a share of its seeds."""
