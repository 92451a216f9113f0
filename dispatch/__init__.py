"""The case's journey, in the order it is lived: intake, triage, routing, offers.

May import broker and models.xray. Knows neither Flask nor Celery.
"""
