"""Images to features: one extractor a module, loaded by its name in `eval.extractor`."""
