"""What came of a study: leaderboard, best trial, exported config, pictures, full run."""
