"""Games: one file or folder for each family."""
