"""`make run`: everything Tandem needs on one machine, started in order, watched, and stopped in order.

Standard library only in this file and in install.py: they run before there is an environment.
"""
