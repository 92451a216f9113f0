"""The island: images in, plain numbers out. Imports nothing of ours; no torch outside training."""
