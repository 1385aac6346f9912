"""What a study is told: its search space and settings; how a trial's config comes of them."""
