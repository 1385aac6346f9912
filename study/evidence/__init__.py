"""What numbers of trained configs prove: pure functions on arrays, without files or databases."""
