"""The `dcgan` command: what is typed, what is printed. Nothing is computed here."""
