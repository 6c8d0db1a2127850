"""The stores of windows, one kind a file. What they promise is in `aegis_cli.pipeline.windows.windows`."""
