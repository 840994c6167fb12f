"""Tests of MuseTalk's parts."""
