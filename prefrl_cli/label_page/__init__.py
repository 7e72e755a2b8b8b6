"""The page on which a person says which of two films is better, and the server behind it."""
