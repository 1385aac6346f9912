"""Web pages for people: hosts, ports and the browser; Optuna's dashboard of a store."""
