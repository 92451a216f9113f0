"""How the networks are made: torch, timm and ultralytics live here and nowhere else.

May import the models runtime; the runtime never imports this.
"""
