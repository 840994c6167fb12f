"""Benchmarks: each prints a table and, last, one line of JSON.

Never: assert on times in the test suite.
"""
