"""The HTTP surface: one blueprint per capability.

Never: run a job here or import server.jobs.runner; routes only read and write job rows.
"""
