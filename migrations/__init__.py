"""Alembic migrations, numbered from 0001; found beside this file."""
