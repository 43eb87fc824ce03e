"""Figures, each as a ratio to a named peer or floor within one run: machines differ and drift."""
