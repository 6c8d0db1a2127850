"""The aggregate functions, one family a file. What they have in common is `aegis_cli.pipeline.aggregate`."""
