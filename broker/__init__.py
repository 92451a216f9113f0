"""Ground floor: the record (database), the image store, the queue and settings.

Every process shares this room. It imports nothing of ours.
"""
