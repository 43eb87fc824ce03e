"""LongCat-Video-Avatar: its authors' code, how it is loaded, and what it is given."""
