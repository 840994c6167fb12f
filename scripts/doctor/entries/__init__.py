"""The entries of the doctor's book, by part.

Never: code that looks at a machine.
"""
