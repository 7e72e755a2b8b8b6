"""Who acts, and how it learns."""
