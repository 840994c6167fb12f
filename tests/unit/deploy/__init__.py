"""Tests of deploy/: what can be seen without an engine."""
