"""Lip-sync backends: frames and audio features in, mouth patches out.

Never: read or write files of a job here.
"""
