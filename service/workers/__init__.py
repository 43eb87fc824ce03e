"""Workers: code that runs beside the GPU, without access to the database."""
