"""Scripts that people and CI run.

Never: hold what the server needs at run time.
"""
