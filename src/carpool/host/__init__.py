"""The host-wide pool: a broker owns the server connections and lends their sockets to processes.

Imports no Django. How a lease works is told at the head of `table.py`.
"""
