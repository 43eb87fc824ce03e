"""The cards, one file a family. Revisions are commits that other public projects pin for these
very files, as of 2026-11; none of them was fetched here."""
