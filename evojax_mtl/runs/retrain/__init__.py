"""Retraining of found cells: what is asked, whose cells, the loop, and its folder."""
