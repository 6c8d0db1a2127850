"""The log store of Aegis: topics as plain JSON Lines files, shared safely by many processes.

`Store` is the way in. The package knows nothing of the command line: it prints nothing and raises
`StorageError` and its kin (see `storage.errors`). The files are described in FORMAT.md.
"""
