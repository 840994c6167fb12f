"""MuseTalk's parts: networks, box, latents, blend, avatars.

Never: imports anything here, or knows of jobs.
"""
