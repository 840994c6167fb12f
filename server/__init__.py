"""The service: settings, a worker's life, jobs and HTTP.

Never: compute pictures or sound here; that is the work of trans_dh_service.
"""
