"""Models: the registry, the lane that owns the device, and the networks.

Never: import face_detect_utils, trans_dh_service or server here.
"""
