"""Faces: picture in, faces out.

Never: import models, trans_dh_service or server here.
"""
