"""A folder of photos in, one bank of uint8 images out, and the random changes made to them.

How photos are found, decoded, cached, augmented and drawn belongs here; what is done with a bank
does not.
"""
