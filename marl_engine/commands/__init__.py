"""What is run from the shell."""
