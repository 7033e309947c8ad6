"""What is played: one family, one file or folder."""
