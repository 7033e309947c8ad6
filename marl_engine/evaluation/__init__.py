"""Evaluation of profiles: one evaluator for each kind of game, and the report that it returns."""

from marl_engine.evaluation.evaluator import make_evaluator
from marl_engine.evaluation.report import Evaluator, Report

__all__ = ["Evaluator", "Report", "make_evaluator"]
