"""Judges generators and folders of images: features, distances, uncertainty, memorisation."""
