"""The doctor: looks at a machine and this configuration, and names what is wrong and what mends it.

Never: a change to the machine, to the data or to a running server.
"""
