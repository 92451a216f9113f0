"""A city's ambulances and emergency rooms, replayed to compare ways of choosing whom to ask.

A discrete-event simulation (simpy) round the very functions that production uses: triage, travel,
behaviour, routing and the settings' escalation steps. No database, no web and no queue enter. The
packages that only this room needs are in the extra `replay`.
"""
