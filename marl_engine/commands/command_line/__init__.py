"""Reading the command line: keys, presets, environment, trained models."""
