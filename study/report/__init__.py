"""A study's report: one HTML file that needs no server and no network."""
