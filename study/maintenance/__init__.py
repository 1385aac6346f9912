"""Keeping results folders in order: doctor, gc, delete."""
