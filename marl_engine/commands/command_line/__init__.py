"""What reads the words of a command line: keys, presets, the environment, trained models."""
