"""The public entry point for people who query results: ``isochron.open(store)``."""
