"""Alembic's folder: how the tables came to their present form.

Never: import the application's table here; a migration must keep its meaning when the table moves
on.
"""
