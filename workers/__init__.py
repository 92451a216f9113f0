"""Doors of the queue: Celery tasks and the upkeep loop.

May import broker, dispatch and models (not models.training).
"""
