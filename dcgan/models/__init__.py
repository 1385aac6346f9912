"""Networks, the moving average and sampling. Nothing here trains or scores."""
