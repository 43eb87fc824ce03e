"""Pure words and rules: no input, no output, no libraries but pydantic."""
