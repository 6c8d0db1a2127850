"""One file a command: parse, call one function of the store or of an engine, render."""
