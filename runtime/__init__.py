"""How inference runtimes are opened, for models/ and face_detect_utils/ alike.

Never: a model, or anything of this project above it.
"""
