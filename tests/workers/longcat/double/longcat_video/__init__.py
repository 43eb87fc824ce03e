"""A double of LongCat-Video's package: the names, signatures and checks of commit 6b3f4b8, and
arithmetic of a few lines in place of its models. It shows no person and generates nothing."""
