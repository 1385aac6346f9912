"""A study being run: launches, trials, worker processes, and which process has which trial."""
