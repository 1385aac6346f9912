"""The `study` command: what is typed, what is printed. Nothing is decided here."""
