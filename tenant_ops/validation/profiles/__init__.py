"""Profiles: what a tenant's data usually looks like, and whether it does now.

`values.py` says what a profile is, `measuring.py` takes one (an aggregate scan per table), `keeping.py` keeps
one a day in the control plane, `judging.py` compares with earlier ones. The rules that tell of it are in
`levels/data/history.py`.

A profile holds counts, means and times. Values are counted only where the definition lists them (`OneOf`),
and of a column with a privacy class nothing is measured but how often it is filled.
"""
