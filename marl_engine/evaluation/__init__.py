"""How good a profile is: returns, exploitability, win rates."""
