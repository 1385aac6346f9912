"""MLflow, the mirror of a study: everything that talks to it, and nothing else does."""
