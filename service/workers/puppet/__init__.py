"""The puppet: a photo that speaks, drawn on a CPU."""
