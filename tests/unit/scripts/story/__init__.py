"""Tests of scripts/story."""
