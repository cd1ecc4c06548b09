"""What to run: the declarative grid, the models that validate it, and the result store."""
