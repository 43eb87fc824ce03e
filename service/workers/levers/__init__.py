"""The ways to run a model faster or in less memory, each for all families alike."""
