"""Features or losses to numbers: one metric a module, with its source and its uncertainty."""
