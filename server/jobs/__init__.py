"""What a job is: its states, its row, its files and the runner that works on it.

Never: import Flask here.
"""
