"""The cards, one file per family. Revisions are commits that other public projects pin for these
files, as of 2026-11."""
