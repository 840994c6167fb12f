"""The lane: the one thread that touches the device. Engines hand it units of work; it batches and
orders them.

What it is not: a queue of jobs (server/jobs) or a model.
"""
