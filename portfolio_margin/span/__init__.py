"""SPAN: the tables of a risk parameter file, and the algorithm over them as pure functions."""
