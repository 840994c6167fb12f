"""Speech models: sound in, one feature per video frame out.

Never: open media files here; sound arrives as samples.
"""
