"""Rows that are elsewhere: Dask collections, read partition by partition.

Nothing here imports Dask before a collection is given.
"""
