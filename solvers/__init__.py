"""Solvers: each decides who plays against whom. One file implements one paper."""
