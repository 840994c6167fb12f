"""One module per change of the tables.

Never: change one that was released; add the next.
"""
