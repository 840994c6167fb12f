"""Parts of scripts/train_story.py: the story grammar, its corpus, the BPE, the network, the files.

Never: import this from the server or the models.
"""
