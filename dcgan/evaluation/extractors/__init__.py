"""Extractors turn images into features; they are loaded by their name in `eval.extractor`."""
