"""Measurements. Figures in the documentation come from here, with the command beside them."""
