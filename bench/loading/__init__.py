r"""Loading one big CSV file, against `psql \copy`, dlt and pandas, in pairs on one embedded server.

The table has a primary key, three foreign keys and the indexes they need; everybody fills the same one from
empty. See `__main__.py` for what is measured.
"""
