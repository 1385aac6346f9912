"""What a set of generated images is worth: features, distances to the photos, uncertainty, copies.

Judging belongs here, of a generator or of folders of images; training does not.
"""
