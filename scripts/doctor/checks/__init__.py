"""What the doctor looks at: a module for each part of the machine, `check(look)` in each.

Never: how checks are run, timed or printed.
"""
