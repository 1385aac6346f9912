"""What came of a study: leaderboard, the trial that is meant, its exported config, pictures, full run."""
