"""A folder of photos in, one bank of uint8 images out; and the random changes training makes to them.

How photos are found, decoded, cached, augmented and drawn belongs here, not what is done with them.
"""
