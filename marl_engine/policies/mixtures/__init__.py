"""Mixtures of policies: geometric ones, decision by decision, and those that draw a member for a whole game."""
