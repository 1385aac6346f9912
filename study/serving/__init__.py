"""Web pages for people: hosts, ports and the browser."""
