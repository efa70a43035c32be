"""Margins against what happened: coverage tests, shortfall tests, procyclicality, and the walk through a history."""
