"""Parts of scripts/train_viseme.py: synthetic speech, mouth targets, the network, its export.

Never: import this from the server or the models.
"""
