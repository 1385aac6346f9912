"""The ways to run the trials of a study: in this process, or in local worker processes."""
