"""Ways to run a model faster or in less memory, each applied alike to every model family."""
