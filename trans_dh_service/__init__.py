"""Digital human: files in, file out.

Never: import server or know about HTTP, rows or users here.
"""
