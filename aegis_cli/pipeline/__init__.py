"""Pipelines: YAML files that turn topics into topics, record by record, exactly once."""
