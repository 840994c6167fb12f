"""Text models: checkpoints in, tokens out.

Never: import server, trans_dh_service or face_detect_utils here, or open a socket.
"""
