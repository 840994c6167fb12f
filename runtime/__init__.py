"""How inference runtimes and the interpreter are set up, for every layer above.

Never: a model, or anything of this project above it.
"""
