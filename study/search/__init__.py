"""What a study minimises, what proposes its trials, and what stops them early."""
