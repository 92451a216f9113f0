"""Doors of HTTP, one room per kind of user.

May import broker, dispatch and models.xray.
"""
