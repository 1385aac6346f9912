"""A folder of photos in, one bank of uint8 images out, and the random changes made to them.

Finding, decoding, caching, augmenting and drawing photos belongs here. Using a bank does not.
"""
