"""Validating a million stored rows, against one hand-written SQL pass, pandera and Great Expectations.

The table is `listening_events` of the shipped domain with its parents, sound, on the embedded server. Every
side asks the same of it, see `sides.py`.
"""
