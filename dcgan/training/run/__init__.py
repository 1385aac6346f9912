"""The folder of one training run: its files, history, checkpoint and pictures."""
