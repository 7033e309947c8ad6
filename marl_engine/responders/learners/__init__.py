"""Learners that a solver makes besides the profile of the run, by copies of its responder, and average policies."""
