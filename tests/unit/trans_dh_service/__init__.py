"""Tests of the digital human: files in, file out."""
